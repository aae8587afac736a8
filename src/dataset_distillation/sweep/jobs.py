"""The jobs of a multirun, as their files describe them."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataset_distillation.errors import FileError, NoFile, UserError
from dataset_distillation.run.folder import RESULT, STATUS, SWEEP
from dataset_distillation.run.heartbeat import Progress, alive
from dataset_distillation.run.records import MOST_JOBS, Result, Status, Sweep, read
from dataset_distillation.sweep.submitit import Queue

OPEN = ("queued", "running")
CENTURY = 3e9  # seconds; a file may hold any speed, and no calendar any date


def swept_overrides(job: Path, overrides: list[str]) -> list[str] | None:
    """Return the overrides of a job whose keys its sweep varies; None for a run in no sweep."""
    if (sweep := read(Sweep, job.parent / SWEEP)) is None:
        return None
    return [override for override in overrides if override.split("=")[0] in sweep.swept]


#: Arguments by which Hydra runs any code; a file of somebody else must not have them typed.
OF_CODE = re.compile(r"_target_|hydra\.(callbacks|searchpath)|^-(-config|c[dnp])")


def to_finish(folder: Path) -> str:
    """Return what to type to finish the multirun in `folder`.

    It is shown and never run; "" if the command on record is none of ours, or lets Hydra run other code.
    """
    record = read(Sweep, folder / SWEEP)
    try:
        program, *typed = shlex.split(record.command if record else "")
    except ValueError:  # not a command
        return ""
    if record is None or program not in ("distill", "distill-evaluate") or any(map(OF_CODE.search, typed)):
        return ""
    return again([program, *typed], record.cwd, folder)


def again(command: Sequence[str], cwd: str, folder: Path) -> str:
    """Return `command`, which was typed in `cwd` ("": here), as it finishes its multirun in `folder`."""
    kept = [argument for argument in command if not argument.startswith("hydra.sweep.dir=")]
    if not cwd or Path(cwd) == Path.cwd():
        return shlex.join([*kept, f"sweep.resume={folder}"])
    return f"cd {shlex.quote(cwd)}; {shlex.join([*kept, f'sweep.resume={folder.absolute()}'])}"


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
        """Seconds until the last outer step; the evaluation after it is not included."""
        p = self.progress
        if self.state != "running" or not p.steps_per_second:
            return None
        return min((p.steps - p.step) / p.steps_per_second, CENTURY)


def jobs_of(folder: Path) -> list[Job]:
    """Return the jobs of the multirun in `folder`, including those not yet started. Raises UserError."""
    if not folder.is_dir():
        raise NoFile(f"{folder}: no such folder")
    named = (path for path in folder.iterdir() if re.fullmatch("0|[1-9][0-9]{0,8}", path.name))
    started = sorted(int(path.name) for path in named if path.is_dir())
    if len(started) > MOST_JOBS:
        raise FileError(f"{folder}: {len(started):,} jobs, and at most {MOST_JOBS:,} are read")
    sweep = read(Sweep, folder / SWEEP)
    announced = sweep.jobs if sweep else None
    numbers = started if announced is None else range(len(announced))
    if not numbers:
        raise UserError(f"{folder}: not the folder of a multirun (it has no jobs)")
    queue = Queue.of(sweep)
    return [_job(folder / str(n), None if announced is None else announced[n], queue) for n in numbers]


def _job(folder: Path, announced: list[str] | None, queue: Queue) -> Job:
    number = int(folder.name)
    try:
        job = _started(folder, announced)
    except FileError as error:
        return Job(number, folder, "damaged", announced or [], result=Result(error=str(error)))
    if job is None:
        return Job(number, folder, "queued" if queue.may_begin(number) else "missing", announced or [])
    # A job that is in the queue will run again, however an earlier attempt ended.
    again = job.state not in ("running", "finished") and queue.holds(number)
    return replace(job, state="queued") if again else job


def _started(folder: Path, announced: list[str] | None) -> Job | None:
    number = int(folder.name)
    status, result = read(Status, folder / STATUS), read(Result, folder / RESULT)
    if status and not _complete(status, result):
        progress = Progress(
            status.step, status.steps, status.metric, status.validation, status.steps_per_second
        )
        if alive(status):
            return Job(number, folder, "running", status.overrides, progress)
        last = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.updated))
        error = f"no sign of life since {last}, at outer step {progress.step} of {progress.steps}"
        return Job(number, folder, "lost", status.overrides, progress, Result(error=error))
    if result is None or (announced is not None and set(announced) != set(result.overrides)):
        return None  # the result of another sweep, which this one will replace
    steps = result.value("outer.steps")
    total = steps if isinstance(steps, int) and result.outer_steps is not None else 0
    progress = Progress(result.outer_steps or 0, total, result.metric, result.validation)
    return Job(number, folder, result.status, result.overrides, progress, result)


def _complete(status: Status, result: Result | None) -> bool:
    """Whether the result of a run is there although its last sign of life is, too.

    So it is while the page is written, and where the run was killed then; but not while it is extended.
    """
    if result is None or result.status != "finished" or alive(status):
        return False
    return set(result.overrides) == set(status.overrides) and (result.outer_steps or 0) >= status.steps
