"""What a run left in its folder, read as far as it is there: all that a report knows."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from PIL import Image

from dataset_distillation.distilled.artifact import DistilledSet, load_distilled
from dataset_distillation.errors import DAMAGED, UserError
from dataset_distillation.evaluation.options import Training
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.objectives import shown
from dataset_distillation.run.records import read
from dataset_distillation.sweep.jobs import Job, jobs_of
from dataset_distillation.sweep.overrides import asked, differing


@dataclass(frozen=True)
class RunFolder:
    """A run. No file in its folder is taken for granted: a job of a multirun may have died early."""

    path: Path
    job: Job | None = None

    @cached_property
    def result(self) -> dict[str, Any]:
        if self.job:
            return self.job.result  # empty unless it has ended; of a damaged one, the error
        return {"status": "missing", **read(self.path / "result.json")}

    @property
    def evaluation(self) -> dict[str, dict[str, Any]]:
        """The evaluation's records by method, `random_real`, ..."""
        return {row["method"].replace(" ", "_"): row for row in self.result.get("evaluation") or []}

    @cached_property
    def metrics(self) -> list[str]:
        """The objective's metrics, the primary one first."""
        primary = self.result.get("metric") or "accuracy"
        found = [name for row in self.evaluation.values() for name in row.get("metrics", {})]
        return shown(primary, found)

    @property
    def validation(self) -> float | None:
        """The primary metric on the validation split."""
        return self.result.get(f"validation_{self.metrics[0]}")

    @property
    def config(self) -> dict[str, Any]:
        return self.result.get("config") or {}

    @property
    def status(self) -> str:
        return self.job.state if self.job else str(self.result["status"])

    @property
    def asked(self) -> dict[str, str]:
        """What was asked for on the command line, or by the sweep."""
        return asked(self.job.overrides if self.job else self.result.get("overrides", []))

    def value(self, key: str) -> Any:
        """The chosen file of a group, or the resolved value of `distilled.steps`, ...; or None."""
        node: Any = self.config
        if choice := self.result.get("choices", {}).get(key):
            return choice
        for name in key.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        return node

    @cached_property
    def distilled(self) -> DistilledSet | None:
        path = self.path / "distilled.safetensors"
        return load_distilled(path) if path.exists() else None

    @property
    def judges(self) -> bool:
        """Whether it is a run of `distill-evaluate`."""
        return "artifact" in self.config

    @property
    def command(self) -> str:
        """What repeats it, for a shell."""
        program = "distill-evaluate" if self.judges else "distill"
        told: str = self.result.get("provenance", {}).get("command", "")
        return told or shlex.join([program, *self.result.get("overrides", [])])

    @property
    def class_names(self) -> list[str]:
        """Of the test split, which need not be of the data set that the images were made for."""
        made = {} if self.distilled is None else self.distilled.metadata
        return list(self.result.get("class_names") or made.get("class_names", []))

    @cached_property
    def inner_steps(self) -> int | None:
        """How many steps train each network."""
        if self.distilled is None:
            return None
        return len(Schedule(self.distilled, Training(**self.config.get("training", {})), 0, 1)[0])

    @property
    def real(self) -> np.ndarray | None:
        """A few real images a class, (examples, classes, height, width, 3) uint8."""
        path = self.path / "images" / "real.png"
        if not path.exists() or self.distilled is None:
            return None
        with _reading(path):
            with Image.open(path) as picture:
                sprite = np.asarray(picture.convert("RGB"))
            classes = len(self.class_names)
            side = sprite.shape[1] // classes
            return sprite.reshape(-1, side, classes, side, 3).swapaxes(1, 2)

    @property
    def history(self) -> pandas.DataFrame | None:
        return self._table("history.csv")

    @property
    def runs(self) -> pandas.DataFrame | None:
        """One row a method and held-out network."""
        return self._table("evaluation.csv")

    @property
    def confusion(self) -> dict[str, np.ndarray]:
        """By method, the mean share [true][predicted] over the held-out networks."""
        path = self.path / "confusion.json"
        with _reading(path):
            return {method: np.array(matrix, dtype=float) for method, matrix in read(path).items()}

    def _table(self, name: str) -> pandas.DataFrame | None:
        path = self.path / name
        with _reading(path):
            return pandas.read_csv(path) if path.exists() and path.stat().st_size > 1 else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises UserError, one line, if `path` is not what a run writes there."""
    try:
        yield
    except (OSError, *DAMAGED) as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())})") from error


def is_run(folder: Path) -> bool:
    return (folder / "result.json").exists()


def jobs(folder: Path) -> list[RunFolder]:
    """The jobs of the multirun in `folder`, in order, begun or not. Raises UserError if it is none."""
    return [_sound(RunFolder(job.folder, job), job) for job in jobs_of(folder)]


def _sound(run: RunFolder, job: Job) -> RunFolder:
    """The job; of one whose distilled data cannot be read, what is wrong with them instead of its result."""
    try:
        with _reading(run.path):
            _ = run.inner_steps
    except UserError as error:
        return RunFolder(run.path, replace(job, state="damaged", result={"error": str(error)}))
    return run


def below(folder: Path) -> Iterator[RunFolder]:
    """Every run in `folder`, however deep."""
    yield from (RunFolder(path.parent) for path in sorted(folder.rglob("result.json")))


def swept(runs: list[RunFolder]) -> list[str]:
    """The keys in which the jobs of a multirun differ."""
    return differing([run.asked for run in runs])
