"""The jobs of any multirun, as their files tell them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataset_distillation.errors import UserError
from dataset_distillation.run.folder import RESULT, STATUS, SWEEP
from dataset_distillation.run.heartbeat import Progress, alive
from dataset_distillation.run.records import RecordError, Result, Status, Sweep, read
from dataset_distillation.sweep.submitit import Queue

OPEN = ("queued", "running")


def swept(job: Path, overrides: list[str]) -> list[str] | None:
    """Those of a job's overrides in which the jobs of its sweep differ; None for a run in no sweep."""
    if (sweep := read(Sweep, job.parent / SWEEP)) is None:
        return None
    return [override for override in overrides if override.split("=")[0] in sweep.swept]


@dataclass(frozen=True)
class Job:
    """One job of a sweep. `state`: queued, running, lost, missing, damaged, or how it ended."""

    number: int
    folder: Path
    state: str
    overrides: list[str]
    progress: Progress = field(default_factory=Progress)
    result: Result = field(default_factory=Result)

    @property
    def seconds_left(self) -> float | None:
        """Of the outer steps; the evaluation behind them is not foreseen."""
        p = self.progress
        if self.state != "running" or not p.steps_per_second:
            return None
        return (p.steps - p.step) / p.steps_per_second


def jobs_of(folder: Path) -> list[Job]:
    """Every job of the multirun in `folder`, those that have not begun included. Raises UserError."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    begun = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit() and path.is_dir())
    sweep = read(Sweep, folder / SWEEP)
    announced = sweep.jobs if sweep else None
    numbers = begun if announced is None else range(len(announced))
    if not numbers:
        raise UserError(f"{folder}: no folder of a multirun (no jobs)")
    queue = Queue.of(sweep)
    return [_job(folder / str(n), None if announced is None else announced[n], queue) for n in numbers]


def _job(folder: Path, announced: list[str] | None, queue: Queue) -> Job:
    number = int(folder.name)
    try:
        begun = _begun(folder, announced)
    except RecordError as error:
        return Job(number, folder, "damaged", announced or [], result=Result(error=str(error)))
    if begun is None:
        return Job(number, folder, "queued" if queue.may_begin(number) else "missing", announced or [])
    # Whatever ended an earlier attempt: what a queue holds is still to come.
    again = begun.state not in ("running", "finished") and queue.holds(number)
    return replace(begun, state="queued") if again else begun


def _begun(folder: Path, announced: list[str] | None) -> Job | None:
    number = int(folder.name)
    if status := read(Status, folder / STATUS):
        progress = Progress(
            status.step, status.steps, status.metric, status.validation, status.steps_per_second
        )
        if alive(status):
            return Job(number, folder, "running", status.overrides, progress)
        last = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.updated))
        error = f"no sign of life since {last}, at outer step {progress.step} of {progress.steps}"
        return Job(number, folder, "lost", status.overrides, progress, Result(error=error))
    result = read(Result, folder / RESULT)
    if result is None or (announced is not None and set(announced) != set(result.overrides)):
        return None  # another sweep's, which will be replaced
    steps = result.value("outer.steps")
    total = steps if isinstance(steps, int) else 0
    progress = Progress(result.outer_steps or 0, total, result.metric, result.validation)
    return Job(number, folder, result.status, result.overrides, progress, result)
