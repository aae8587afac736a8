"""The multirun that this process starts."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import psutil
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from dataset_distillation.errors import FileError, program, refuse
from dataset_distillation.files import read as read_file
from dataset_distillation.files import write
from dataset_distillation.run.folder import (
    CONFIG,
    RESULT,
    STATUS,
    SWEEP,
    SWEEP_MARKS,
    check_own,
    folder_of,
    missing,
    remove,
)
from dataset_distillation.run.heartbeat import LOST, Heartbeat, process_of
from dataset_distillation.run.interruption import before_the_end
from dataset_distillation.run.machine import check_room
from dataset_distillation.run.records import LARGEST, Status, Sweep, read
from dataset_distillation.run.workers import deaf
from dataset_distillation.sweep.expansion import Expansion
from dataset_distillation.sweep.jobs import OPEN, again, jobs_of, to_finish
from dataset_distillation.sweep.options import check_options
from dataset_distillation.sweep.submitit import give_up, slurm_holds, submitted

QUEUE = ".submitit/%j"  # where `submitted` finds the jobs of a queue
NUMBER = "${hydra.job.num}"  # the folder of a job in that of its multirun

WORKER = 300_000_000  # bytes of a process that has imported torch


class Multirun:
    """The multirun of this process: `sweep.json` lists its jobs and shows that it goes on."""

    def __init__(self, config: DictConfig) -> None:
        hydra = config.hydra
        check_options(hydra)
        self.folder, self.launcher = folder_of("hydra.sweep.dir", hydra.sweep.dir), hydra.launcher._target_
        check_own("hydra.sweep.dir", self.folder, SWEEP_MARKS)
        sweep: Any = OmegaConf.to_container(hydra.sweep, resolve=False)
        if (subdir := sweep["subdir"]) != NUMBER:
            raise refuse("hydra.sweep.subdir", subdir, f"must be {NUMBER}, by which jobs are found")
        queue, own = hydra.launcher.get("submitit_folder"), self.folder / QUEUE
        if queue and Path(queue) != own:
            raise refuse("hydra.launcher.submitit_folder", queue, f"must be {own}", "leave it out")
        overrides = _overrides(hydra)
        # A search chooses its jobs while it runs, so they cannot be listed in advance.
        search = not hydra.sweeper._target_.endswith(".BasicSweeper")
        if search:
            _refuse_twice(_parsed(hydra.overrides.task))
        self.expansion = None if search else Expansion.of(overrides)
        self.announced = self.expansion.jobs if self.expansion else None
        self.swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
        self.path = self.folder / SWEEP
        self._refuse_another()
        self.ended = False
        self.made = missing(self.folder)
        self.before = read_file(self.path, LARGEST) if self.path.exists() else None
        self.starts, self.earlier = self._starts(), submitted(self.folder)
        self.tasks = hydra.launcher.get("tasks_per_node", 1) * hydra.launcher.get("nodes", 1)  # per job
        self.gone: dict[str, float] = {}  # jobs that have left SLURM's queue, with the time
        self.heartbeat = Heartbeat(self.path, Sweep, self._describe)
        self._listening = contextlib.ExitStack()

    def _refuse_another(self) -> None:
        """Raise ConfigError if another process runs a multirun in the folder."""
        with contextlib.suppress(FileError):  # half a file, after a power loss
            record = read(Sweep, self.path)
            if record and not record.ended and (process := process_of(self.path, Sweep)):
                remedy = "wait for it, or use another folder"
                raise refuse("hydra.sweep.dir", self.folder, f"{process} runs a multirun there", remedy)

    def start(self) -> None:
        """Show that the multirun goes on, and let a signal reach jobs that are processes of their own."""
        self.heartbeat.start()
        if "joblib" in self.launcher:
            self._listening.enter_context(deaf())  # the thread of the heartbeat receives the signals
            before_the_end(self._stop_jobs)

    def _stop(self) -> None:
        self._listening.close()
        self.heartbeat.stop()

    def _stop_jobs(self, signum: int) -> None:
        """Send the signal to each job that runs in a worker, and wait until all have saved their state."""
        told: set[int] = set()
        while running := self._workers():
            for pid in running - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            told |= running
            time.sleep(0.05)

    def _workers(self) -> set[int]:
        """The child processes in which a job runs."""
        children = {child.pid for child in psutil.Process().children()}
        running = set()
        for path in self.folder.glob(f"*/{STATUS}"):
            with contextlib.suppress(FileError):
                running |= {status.pid} if (status := read(Status, path)) else set()
        return children & running

    def give(self, config: DictConfig) -> None:
        """Let Hydra run the jobs that were announced; expanding them itself, it would shuffle again."""
        if self.expansion is None:
            return
        jobs = len(self.expansion.jobs)
        if "Local" in self.launcher:  # all jobs at once
            _check_room("hydra/launcher", "submitit_local", jobs)
        with open_dict(config):
            config.hydra.sweeper.params = {}
            config.hydra.overrides.task = self.expansion.arguments
            if "joblib" in self.launcher:  # it would start more processes than there are jobs
                asked = config.hydra.launcher.n_jobs
                config.hydra.launcher.n_jobs = min(asked, jobs)
                _check_room("hydra.launcher.n_jobs", asked, min(asked, jobs))

    def _describe(self) -> dict[str, Any]:
        if "Slurm" in self.launcher:
            self._let_go()
        return {
            "command": shlex.join([program(), *sys.argv[1:]]),
            "cwd": os.getcwd(),
            "launcher": self.launcher,
            "swept": self.swept,
            "jobs": self.announced,
            "submitted": self.submitted(),
            "uid": os.getuid(),
            "ended": self.ended,
        }

    def submitted(self) -> list[str]:
        """The ids of the jobs that the launcher has submitted, in order."""
        return [job for job in submitted(self.folder) if job not in self.earlier]

    def _let_go(self) -> None:
        """Give up jobs that left SLURM's queue so long ago that their result files would have appeared."""
        if not (own := self.submitted()) or (held := slurm_holds(os.getuid())) is None:
            return
        now = time.monotonic()
        self.gone = {job: self.gone.get(job, now) for job in own if job not in held}
        for job, left in self.gone.items():
            if now - left > LOST:
                give_up(self.folder, job, self.tasks)

    def _starts(self) -> dict[Path, int]:
        # The files that jobs write when they start. Their times are only compared with earlier times of the
        # same files, so clocks of different machines do not matter.
        written = [path for name in (CONFIG, STATUS, RESULT) for path in self.folder.glob(f"*/{name}")]
        with contextlib.suppress(FileNotFoundError):  # of a job that ends now
            return {path: path.stat().st_mtime_ns for path in written}
        return self._starts()

    def same_as_before(self) -> None:
        """Raise ConfigError unless the command has all jobs of the sweep that it resumes in this folder."""
        sweep = read(Sweep, self.path)
        before, now = (sweep and sweep.jobs) or [], self.announced or []
        for number, (there, here) in enumerate(zip(before, now, strict=False)):
            earlier = " ".join(override for override in there if override not in here)
            other = " ".join(override for override in here if override not in there)
            if earlier or other:
                differs = f"{earlier}, not {other}" if earlier and other else earlier or f"no {other}"
                self._refuse(f"its job {number} has {differs}")
        if len(now) < len(before):
            self._refuse(f"it has {len(before)} jobs, not {len(now)}")

    def _refuse(self, allowed: str) -> NoReturn:
        command = to_finish(self.folder)
        remedy = f"use the command that started it{': ' if command else ''}{command}"
        raise refuse("sweep.resume", self.folder, allowed, remedy)

    def started(self) -> bool:
        """Whether any job has started or waits in a queue."""
        return self._starts() != self.starts or bool(self.submitted())

    def wait(self) -> None:
        """Wait until no job is queued or running: submitit stops waiting at the first job that it loses."""
        printed = False
        while "submitit" in self.launcher and any(job.state in OPEN for job in jobs_of(self.folder)):
            if not printed:
                print("a job was lost; waiting for the others (Ctrl-C does not stop them)", file=sys.stderr)
            printed = True
            time.sleep(2)

    def end(self, interrupted: bool) -> None:
        """Record that no more jobs will start; after Ctrl-C, submitted jobs may still start."""
        self._stop()
        self.ended = not (interrupted and "submitit" in self.launcher)
        self.heartbeat.write()

    def what_next(self) -> str:
        """What to type after an interruption: what resumes, or what shows the jobs that go on anyway."""
        if not self.ended:
            return f"submitted jobs go on: {shlex.join(['distill-status', str(self.folder)])}"
        return f"to resume: {again([program(), *sys.argv[1:]], '', self.folder)}"

    def withdraw(self) -> None:
        """Remove the files and folders of a multirun that was refused before its first job."""
        self._stop()
        if self.made:
            remove(self.made)
        elif self.before is not None:
            write(self.path, self.before)
        else:
            with contextlib.suppress(OSError):
                self.path.unlink()
                (self.folder / "multirun.yaml").unlink(missing_ok=True)


def _check_room(key: str, value: object, processes: int) -> None:
    """Raise ConfigError if the memory cannot hold so many jobs at once."""
    check_room(key, value, processes * WORKER, f"{processes} processes")


def _overrides(hydra: DictConfig) -> list[Override]:
    """The overrides of the config and of the command line, as Hydra's sweepers read them."""
    params = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()]
    return _parsed([*params, *hydra.overrides.task])


def _parsed(typed: list[str]) -> list[Override]:
    return OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(typed)


def _refuse_twice(overrides: list[Override]) -> None:
    """Raise ConfigError for a key that is searched over and set, too: the search would leave it out.

    overrides: those of the command line, which may set what an experiment would search over.
    """
    swept = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    for override in overrides:
        if (key := override.get_key_element()) in swept and not override.is_sweep_override():
            raise refuse(key, override.value(), "is searched over as well", "leave one of them out")
