"""The contents of the JSON files of a run and of a multirun; no other module reads or writes them.

A record of an older version lacks later fields: each of these has a default that says what held before.
Fields that a newer version added are kept when a record is written again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    RootModel,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from dataset_distillation import files
from dataset_distillation.errors import NoFile, damaged, first_problem
from dataset_distillation.objectives import ACCURACY, Metric
from dataset_distillation.run.fields import Count, DataReport, Engine, JobId, Record, Seconds, Share

LARGEST = 2**25  # bytes of a record; the confusion matrices of 1,000 classes have about half as many
MOST_OVERRIDES = 1000  # of a run, each of which Hydra parses; an experiment has some hundred keys
MOST_JOBS = 10_000  # of a multirun; the state of each is in files of its own


class Spread(Record):
    """The spread of a metric over runs; all None if any has no finite value; one run has no std (once 0)."""

    mean: float | None
    std: float | None
    min: float | None = None
    max: float | None = None


class EvaluationRow(Spread):
    """A method judged by the objective's first metric; `metrics` has all metrics, including the loss."""

    method: str
    runs: Count
    networks: Count = 0
    sets: Count = 1
    difference: float | None = None  # distilled − this method, with its 95 % interval
    low: float | None = None
    high: float | None = None
    about: str | None = None  # what the interval is about; older records took all runs as independent
    learning_rate: float | None = None  # this and the next four: the settings
    epochs: Count | None = None  # of gradient baselines; if they have no learning rate: at the learned ones
    steps: Count | None = None  # of gradient descent
    distance: str | None = None
    k: Count | None = None
    seconds: Seconds | None = None
    metrics: dict[str, Spread] = {}


class Storage(Record):
    """The size of the distilled data in bytes, and that of the real train set."""

    images_bytes: Count = 0
    labels_bytes: Count = 0
    learning_rates_bytes: Count = 0
    bytes: Count
    images: Count
    images_per_class: float
    real_images: Count | None = None
    real_bytes: Count | None = None
    share_of_real_images: float | None = None
    share_of_real_bytes: float | None = None


class PoolReport(Record):
    """The accuracy of the pretrained networks on the test split of their source."""

    source: str
    networks: Count
    accuracy_mean: Share
    accuracy_std: Share | None  # of one network there is none
    accuracy_min: Share
    folder: str


class Cost(Record):
    """Start, end so far, and the sums and peaks over all attempts."""

    started: str = ""
    ended: str = ""
    seconds: Seconds | None = None
    cpu_seconds: Seconds | None = None
    peak_memory_mb: Count | None = None
    peak_gpu_memory_mb: Count | None = None


class Attempt(Record):
    """One start of a run, and how far it came."""

    started: str
    seconds: Seconds
    cpu_seconds: Seconds
    git_commit: str | None
    peak_memory_mb: Count | None
    peak_gpu_memory_mb: Count | None
    until: str = ""  # when it was last seen
    host: str = ""
    slurm_job: str | None = None
    git_dirty: bool = False
    outer_steps: Count | None = None
    end: str | None = None  # None if it was killed


class RunRecord(Record):
    """`run.json`: the config, how often the run was started, and how far each attempt came."""

    cwd: str
    overrides: list[str] = Field(max_length=MOST_OVERRIDES)
    choices: dict[str, str] = {}
    config: dict[str, Any]
    attempts: list[Attempt]
    engine: Engine | None = None
    key: str | None = None  # SHA-256 of what the rows of an evaluation depend on; None if it is not known


class Provenance(Cost):
    """What is needed to repeat a run, and what it cost."""

    command: str = ""
    overrides: list[str] = []
    git_commit: str | None = None
    git_dirty: bool = False
    versions: dict[str, str] = {}
    platform: str = ""
    hardware: dict[str, Any] = {}
    device: str | None = None
    threads: Count | None = None
    data_checksum: str | None = None
    seed: int | None = None
    attempts: list[Attempt] = []


class Result(Record):
    """`result.json`: how a run ended."""

    status: str = "missing"
    error: str = ""
    signal: str | None = None  # the one that interrupted it
    metrics: list[Metric] = []  # those of the objective; checkpoints are chosen by the first
    validation: float | None = None  # the best value of the first; in the file it is `validation_<metric>`
    outer_steps: Count | None = None
    skipped_steps: Count | None = None
    distillation_seconds: Seconds | None = None
    outer_steps_per_second: float | None = None
    memory_estimate_mb: Count | None = None
    artifact: str | None = None  # the one that was judged
    class_names: list[str] = []
    selection: str = "validation"
    evaluation: list[EvaluationRow] = []
    storage: Storage | None = None
    data: DataReport | None = None
    pool: PoolReport | None = None
    provenance: Provenance = Field(default_factory=Provenance)
    choices: dict[str, str] = {}
    overrides: list[str] = []
    config: dict[str, Any] = {}

    @property
    def metric(self) -> Metric:
        """The metric that checkpoints are chosen by and that tables show."""
        return self.metrics[0] if self.metrics else ACCURACY

    @property
    def rows(self) -> dict[str, EvaluationRow]:
        """The evaluation by method, `random_real`, ..."""
        return {row.method.replace(" ", "_"): row for row in self.evaluation}

    def value(self, key: str) -> Any:
        """The choice of a group, or the resolved value of a key such as `distilled.steps`, or None."""
        if key in self.choices:
            return self.choices[key]
        node: Any = self.config
        for name in key.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        return node

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, content: Any) -> Any:
        """Read records of version 0.1, too: they name only the first metric; the evaluation has the rest."""
        if not isinstance(content, dict) or not isinstance(first := content.get("metric"), str):
            return content
        content = {**content, "validation": content.get(f"validation_{first}")}
        for key in ("metric", f"validation_{first}"):
            content.pop(key, None)
        if "metrics" not in content:
            rows = value if isinstance(value := content.get("evaluation"), list) else []
            tables = [row.get("metrics") for row in rows if isinstance(row, dict)]
            names = [name for table in tables if isinstance(table, dict) for name in table]
            known = [name for name in dict.fromkeys([first, *names]) if name == first or not _is_loss(name)]
            content["metrics"] = list(map(_by_its_name, known))
        return content

    @model_validator(mode="after")
    def _whole(self) -> Result:
        if self.status == "finished" and not self.metrics:
            raise ValueError("a finished run has a metric")
        values = [value for row in self.evaluation for value in (row.mean, row.std, row.min, row.max)]
        odd = [v for v in (self.validation, *values) if v is not None and not -1e-6 <= v <= 1 + 1e-6]
        if odd and self.metric.percent:
            raise ValueError(f"{self.metric.name} is a share of 1, not {odd[0]}")
        return self

    @model_serializer(mode="wrap")
    def _to_file(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        if self.metrics:
            content["metric"] = self.metric.name
            content[f"validation_{self.metric.name}"] = content.pop("validation", None)
        return content


def _is_loss(name: str) -> bool:
    return name.endswith("loss")  # version 0.1 had no other sign of a metric's direction


class Life(Record):
    """A sign of life: when it was given, and by which process."""

    updated: float = Field(ge=0, lt=253_402_300_800)  # seconds since 1970, before the year 10,000
    pid: int = Field(ge=1, lt=2**31)
    host: str


def _by_its_name(metric: Any) -> Any:
    """Return the metric of a name; version 0.1 wrote only the name."""
    return Metric(metric, not _is_loss(metric), not _is_loss(metric)) if isinstance(metric, str) else metric


class Status(Life):
    """`status.json`: how far a running run has come."""

    overrides: list[str]
    step: int = Field(default=0, ge=0, lt=10**12)
    steps: int = Field(default=0, ge=0, lt=10**12)
    metric: Annotated[Metric, BeforeValidator(_by_its_name)] = ACCURACY
    validation: float | None = None  # the best value of `metric` so far
    steps_per_second: float | None = Field(default=None, ge=0)


class Sweep(Life):
    """`sweep.json`: the jobs of a multirun, and whether it goes on."""

    command: str = ""
    cwd: str = ""  # where it was typed
    launcher: str = ""
    swept: list[str] = []  # the keys
    jobs: list[list[str]] | None = Field(default=None, max_length=MOST_JOBS)  # overrides; None in a search
    submitted: list[JobId] = []  # of the jobs that the launcher has submitted, in order
    uid: int = Field(default=-1, ge=-1, lt=2**32)
    ended: bool = False


class Confusion(RootModel[dict[str, list[list[Share]]]]):
    """`confusion.json`: for each method, the mean share [true][predicted] over the held-out networks."""

    @model_validator(mode="after")
    def _square(self) -> Confusion:
        if odd := [name for name, rows in self.root.items() if any(len(row) != len(rows) for row in rows)]:
            raise ValueError(f"{odd[0]}: not a square matrix")
        return self


R = TypeVar("R", bound=BaseModel)


def read(kind: type[R], path: Path) -> R | None:
    """Return the record in `path`, or None if there is no such file.

    Raises FileError if it cannot be read.
    """
    try:
        return kind.model_validate_json(files.read(path, LARGEST))
    except NoFile:
        return None
    except ValidationError as error:
        raise damaged(path, "what a run writes there", first_problem(error)) from error


def save(record: BaseModel, path: Path) -> None:
    """Write the fields of `record` that were set, atomically. Raises UserError."""
    files.write(path, (record.model_dump_json(indent=2, exclude_unset=True) + "\n").encode())
