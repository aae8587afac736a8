"""A sweep: the multirun that this process starts, and the jobs of any, as their files tell them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dataset_distillation.errors import DAMAGED, UserError
from dataset_distillation.run.heartbeat import Progress, alive
from dataset_distillation.run.records import read
from dataset_distillation.sweep.submitit import Queue

OPEN = ("queued", "running")


def swept(job: Path, overrides: list[str]) -> list[str] | None:
    """Those of a job's overrides in which the jobs of its sweep differ; None for a run in no sweep."""
    if not (told := read(job.parent / "sweep.json")):
        return None
    return [override for override in overrides if override.split("=")[0] in told["swept"]]


@dataclass(frozen=True)
class Job:
    """One job of a sweep. `state`: queued, running, lost, missing, or how it ended."""

    number: int
    folder: Path
    state: str
    overrides: list[str]
    progress: Progress = field(default_factory=Progress)
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds_left(self) -> float | None:
        """Of the outer steps; the evaluation behind them is not foreseen."""
        p = self.progress
        if self.state != "running" or not p.steps_per_second:
            return None
        return (p.steps - p.step) / p.steps_per_second


def jobs_of(sweep: Path) -> list[Job]:
    """Every job of the multirun in `sweep`, those that have not begun included. Raises UserError."""
    if not sweep.is_dir():
        raise UserError(f"{sweep}: no such folder")
    there = sorted(int(path.name) for path in sweep.iterdir() if path.name.isdigit() and path.is_dir())
    announced, queue = _told(sweep / "sweep.json")
    numbers = there if announced is None else range(len(announced))
    if not numbers:
        raise UserError(f"{sweep}: no folder of a multirun (no jobs)")
    return [_job(sweep / str(n), None if announced is None else announced[n], queue) for n in numbers]


def _told(path: Path) -> tuple[list[list[str]] | None, Queue]:
    """The overrides of each job, if they are known, and which of them may still begin."""
    told = read(path)
    try:
        announced = told.get("jobs")
        jobs = None if announced is None else [list(map(str, overrides)) for overrides in announced]
        return jobs, Queue.of(told)
    except DAMAGED as error:
        raise UserError(f"{path}: damaged ({error!r})") from error


def _job(folder: Path, announced: list[str] | None, queue: Queue) -> Job:
    number = int(folder.name)
    try:
        begun = _begun(folder, announced)
    except (UserError, *DAMAGED) as error:
        return Job(number, folder, "damaged", announced or [], result={"error": str(error)})
    if begun is None:
        return Job(number, folder, "queued" if queue.may_begin(number) else "missing", announced or [])
    # Whatever ended an earlier attempt: what a queue holds is still to come.
    again = begun.state not in ("running", "finished") and queue.holds(number)
    return replace(begun, state="queued") if again else begun


def _spread(of: dict[str, Any]) -> dict[str, float | None]:
    values = {key: of[key] for key in ("mean", "std", "min", "max")}
    return {key: None if value is None else float(value) for key, value in values.items()}


def _begun(folder: Path, announced: list[str] | None) -> Job | None:
    number, result = int(folder.name), read(folder / "result.json")
    if running := read(folder / "status.json"):
        progress = Progress(**{f.name: running[f.name] for f in fields(Progress)})
        overrides = list(map(str, running["overrides"]))
        if alive(running):
            return Job(number, folder, "running", overrides, progress)
        last = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(running["updated"]))
        told = {"error": f"no sign of life since {last}, at outer step {progress.step} of {progress.steps}"}
        return Job(number, folder, "lost", overrides, progress, told)
    if not result or (announced is not None and set(announced) != set(result["overrides"])):
        return None  # another sweep's, which will be replaced
    for row in result.get("evaluation", []):
        row |= {
            "method": str(row["method"]),
            **_spread(row),
            "metrics": {name: _spread(found) for name, found in row.get("metrics", {}).items()},
        }
    metric = str(result.get("metric", ""))
    steps = result["config"]["outer"]["steps"] if "config" in result else 0
    progress = Progress(result.get("outer_steps", 0), steps, metric, result.get(f"validation_{metric}"))
    result["error"] = str(result.get("error", ""))
    return Job(number, folder, str(result["status"]), list(map(str, result["overrides"])), progress, result)
