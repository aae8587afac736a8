"""The files that a run left in its folder, as far as they exist: everything that a report shows."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas
from pydantic import TypeAdapter, ValidationError

from dataset_distillation.datasets.conversion import opened_image
from dataset_distillation.datasets.data import title
from dataset_distillation.distilled.artifact import DistilledSet, load_distilled
from dataset_distillation.errors import UserError, damaged, printable
from dataset_distillation.evaluation.comparison import read_evaluation
from dataset_distillation.evaluation.options import Training
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.run.folder import ARTIFACT, CONFUSION, EVALUATION, HISTORY, IMAGES, REAL, RESULT
from dataset_distillation.run.history import read_history
from dataset_distillation.run.records import Confusion, Result, read
from dataset_distillation.sweep.jobs import Job, jobs_of
from dataset_distillation.sweep.overrides import by_key

RECORD = "what a run writes there"
MOST_PIXELS = 2**25  # of the picture of real images; 1,000 classes of photographs have about 12 million

#: Images of each class in a step, and steps: the keys of a grid of counts.
COUNTS = ("distilled.images_per_class", "distilled.steps")


@dataclass(frozen=True)
class RecordedRun:
    """A run in a folder; any of its files may be missing, since a job of a multirun may have died early."""

    path: Path
    job: Job | None = None

    @cached_property
    def result(self) -> Result:
        if self.job:
            return self.job.result  # empty unless the job has ended; the error if its files are damaged
        return read(Result, self.path / RESULT) or Result()

    @property
    def status(self) -> str:
        return self.job.state if self.job else self.result.status

    @property
    def overrides(self) -> dict[str, str]:
        """The overrides of the command line or the sweep, by key."""
        try:
            return by_key(self.job.overrides if self.job else self.result.overrides)
        except UserError as error:
            raise damaged(self.path / RESULT, RECORD, error) from error

    @cached_property
    def distilled(self) -> DistilledSet | None:
        path = self.path / ARTIFACT
        return load_distilled(path) if path.exists() else None

    @property
    def judges(self) -> bool:
        """Whether this is a run of `distill-evaluate`."""
        return "artifact" in self.result.config

    @property
    def judged_set(self) -> str:
        """`mnist_fixed_10/seed_0` if it judges results/mnist_fixed_10/seed_0/distilled.safetensors."""
        return "/".join(Path(self.result.artifact or "").parts[-3:-1]) if self.judges else ""

    @property
    def dataset(self) -> str:
        """The name of the data set; empty if the run left no result."""
        options = self.result.config.get("dataset")
        return title(options) if isinstance(options, dict) else self.result.choices.get("dataset", "")

    @property
    def command(self) -> str:
        """The command that repeats the run, for a shell."""
        program = "distill-evaluate" if self.judges else "distill"
        return self.result.provenance.command or shlex.join([program, *self.result.overrides])

    @property
    def class_names(self) -> list[str]:
        """The classes of the test split, which may differ from those that the images were made for."""
        metadata = {} if self.distilled is None else self.distilled.metadata
        return list(map(printable, self.result.class_names or metadata.get("class_names", [])))

    @cached_property
    def inner_steps(self) -> int | None:
        """The number of steps that train each network."""
        if self.distilled is None:
            return None
        try:
            training = TypeAdapter(Training).validate_python(self.result.config.get("training", {}))
            return Schedule(self.distilled, training, 0, 1).steps
        except (ValidationError, UserError) as error:
            raise damaged(self.path / RESULT, RECORD, f"config.training: {error}") from error

    @property
    def real(self) -> np.ndarray | None:
        """A few real images of each class, (examples, classes, height, width, 3) uint8."""
        path = self.path / IMAGES / REAL
        if not path.exists() or self.distilled is None:
            return None
        with opened_image(path, formats=("PNG",), pixels=MOST_PIXELS) as picture:
            sprite = np.asarray(picture.convert("RGB"))
        classes = len(self.class_names)
        side = sprite.shape[1] // max(1, classes)
        if not side or sprite.shape[1] % classes or sprite.shape[0] % side:
            raise damaged(path, "a picture of real images", f"not one column for each of {classes} classes")
        return sprite.reshape(-1, side, classes, side, 3).swapaxes(1, 2)

    @property
    def history(self) -> pandas.DataFrame | None:
        return read_history(self.path / HISTORY)

    @property
    def runs(self) -> pandas.DataFrame | None:
        """One row per method and held-out network."""
        return read_evaluation(self.path / EVALUATION)

    @property
    def confusion(self) -> dict[str, np.ndarray]:
        """For each method, the mean share [true][predicted] over the held-out networks."""
        confusion = read(Confusion, self.path / CONFUSION)
        matrices = confusion.root if confusion else {}
        if odd := [m for m, matrix in matrices.items() if len(matrix) != len(self.class_names)]:
            reason = f"{odd[0]} does not have {len(self.class_names)} classes"
            raise damaged(self.path / CONFUSION, RECORD, reason)
        return {method: np.array(matrix) for method, matrix in matrices.items()}


def jobs(folder: Path) -> list[RecordedRun]:
    """Return the jobs of the multirun in `folder`, in order, started or not. Raises UserError."""
    return [_sound(RecordedRun(job.folder, job), job) for job in jobs_of(folder)]


def _sound(run: RecordedRun, job: Job) -> RecordedRun:
    """Return the job, or, if its distilled data cannot be read, the error instead of its result."""
    try:
        _ = run.inner_steps
    except UserError as error:
        return RecordedRun(run.path, replace(job, state="damaged", result=Result(error=str(error))))
    return run


def below(folder: Path) -> Iterator[RecordedRun]:
    """Yield every run in `folder` and its subfolders."""
    yield from (RecordedRun(path.parent) for path in sorted(folder.rglob(RESULT)))
