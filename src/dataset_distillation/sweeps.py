"""A sweep: the multirun that this process starts, and the jobs of any, as their files tell them."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from dataset_distillation.errors import DAMAGED, UserError, program, refuse
from dataset_distillation.files import write
from dataset_distillation.queues import Queue, give_up, slurm_holds, submitted
from dataset_distillation.status import LOST, Heartbeat, Progress, alive, read

OPEN = ("queued", "running")


class Multirun:
    """The multirun of this process: `sweep.json` names its jobs, and shows that it goes on."""

    def __init__(self, config: DictConfig) -> None:
        hydra = config.hydra
        self.folder, self.launcher = Path(hydra.sweep.dir), hydra.launcher._target_
        overrides = _overrides(hydra)
        self.swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
        # A search finds its jobs as it goes.
        self.announced = _jobs(overrides) if hydra.sweeper._target_.endswith(".BasicSweeper") else None
        self.path = self.folder / "sweep.json"
        self.ended = False
        self.before = self.path.read_bytes() if self.path.exists() else None
        self.starts, self.earlier = self._starts(), submitted(self.folder)
        self.tasks = hydra.launcher.get("tasks_per_node", 1) * hydra.launcher.get("nodes", 1)  # of a job
        self.gone: dict[str, float] = {}  # jobs that have left SLURM's queue, and when
        self.heartbeat = Heartbeat(self.path, self._tell)

    def _tell(self) -> dict[str, Any]:
        if "Slurm" in self.launcher:
            self._let_go()
        return {
            "command": shlex.join([program(), *sys.argv[1:]]),
            "launcher": self.launcher,
            "swept": self.swept,
            "jobs": self.announced,
            "submitted": self.submitted(),
            "uid": os.getuid(),
            "ended": self.ended,
        }

    def submitted(self) -> list[str]:
        """The ids of the jobs that the launcher has handed over, in order."""
        return [job for job in submitted(self.folder) if job not in self.earlier]

    def _let_go(self) -> None:
        """Of jobs that left SLURM's queue so long ago that what they left in files would be seen."""
        if not (ours := self.submitted()) or (held := slurm_holds(os.getuid())) is None:
            return
        now = time.monotonic()
        self.gone = {job: self.gone.get(job, now) for job in ours if job not in held}
        for job, left in self.gone.items():
            if now - left > LOST:
                give_up(self.folder, job, self.tasks)

    def _starts(self) -> dict[Path, int]:
        # Hydra writes these as a job starts, wherever that is; compared with themselves, no clock matters.
        return {path: path.stat().st_mtime_ns for path in self.folder.glob("*/.hydra/overrides.yaml")}

    def same_as_before(self) -> None:
        """Refuse to go on with the sweep in this folder by a command that does not ask for all its jobs."""
        before, now = read(self.path).get("jobs") or [], self.announced or []
        for number, (there, here) in enumerate(zip(before, now, strict=False)):
            asked = " ".join(override for override in there if override not in here)
            other = " ".join(override for override in here if override not in there)
            if asked or other:
                differs = f"{asked}, not {other}" if asked and other else asked or f"no {other}"
                self._refuse(f"its job {number} has {differs}")
        if len(now) < len(before):
            self._refuse(f"it has {len(before)} jobs, not {len(now)}")

    def _refuse(self, allowed: str) -> NoReturn:
        raise refuse("sweep.resume", self.folder, allowed, "give the command that began it")

    def started(self) -> bool:
        """Whether any job has begun, or waits in a queue."""
        return self._starts() != self.starts or bool(self.submitted())

    def wait(self) -> None:
        """Until no job is queued or running: submitit gives up at the first that it loses."""
        told = False
        while "submitit" in self.launcher and any(job.state in OPEN for job in jobs(self.folder)):
            if not told:
                print("a job was lost; waiting for the others (Ctrl-C leaves them alone)", file=sys.stderr)
            told = True
            time.sleep(2)

    def end(self, interrupted: bool) -> None:
        """Say that no job is to come any more; after Ctrl-C there may be, of those handed over."""
        self.heartbeat.stop()
        self.ended = not (interrupted and "submitit" in self.launcher)
        self.heartbeat.write()

    def withdraw(self) -> None:
        """Remove what was written for a multirun that was refused before its first job."""
        self.heartbeat.stop()
        with contextlib.suppress(OSError):
            if self.before is None:
                self.path.unlink()
                (self.folder / "multirun.yaml").unlink(missing_ok=True)
                self.folder.rmdir()
            else:
                write(self.path, self.before)


def _overrides(hydra: DictConfig) -> list[Override]:
    """What was asked for, in the config and on the command line, as Hydra's sweepers read it."""
    swept = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    return parser.parse_overrides([*swept, *hydra.overrides.task])


def _jobs(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job, by its number."""
    [combinations] = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [[override for override in job if not override.startswith("hydra.")] for job in combinations]


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


def jobs(sweep: Path) -> list[Job]:
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
