"""The jobs that submitit has submitted: SLURM, or this machine, runs them whether or not anyone waits."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dataset_distillation.files import write
from dataset_distillation.run.heartbeat import alive
from dataset_distillation.run.records import Sweep


def submitted(sweep: Path) -> list[str]:
    """The ids of all submitted jobs, in order; `.submitit` has one folder per id."""
    names = {path.parent.name for path in sweep.glob(".submitit/*/*_submitted.pkl")}
    ids = [name for name in names if re.fullmatch(r"\d+(_\d+)?", name)]
    return sorted(ids, key=lambda name: [int(number) for number in name.split("_")])


@dataclass(frozen=True)
class Queue:
    """The jobs of a sweep that may still start, or start again."""

    open: bool  # whether the multirun goes on
    submitted: list[str]  # ids, by number of the job
    held: set[str] | None  # ids of jobs that wait, run or end; None if the queue cannot be read

    @classmethod
    def of(cls, sweep: Sweep | None) -> Queue:
        """The queue of a sweep, from its record."""
        if sweep is None:
            return cls(False, [], set())
        slurm, ids = "Slurm" in sweep.launcher, sweep.submitted
        # A job stays in SLURM's queue whether or not a process waits for it.
        if sweep.ended or not (slurm or alive(sweep)):
            return cls(False, ids, set())
        return cls(True, ids, slurm_holds(sweep.uid) if slurm else _machine_holds(sweep, ids))

    def holds(self, number: int) -> bool | None:
        """Whether job `number` waits or runs; None if that is not known."""
        if self.held is None or number >= len(self.submitted):
            return None
        return self.submitted[number] in self.held

    def may_begin(self, number: int) -> bool:
        return self.open if (held := self.holds(number)) is None else held


def slurm_holds(uid: int) -> set[str] | None:
    """The ids of a user's jobs in SLURM's queue, without those that have ended; None if squeue fails."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={int(uid)}"]
    try:
        queue = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(queue.stdout.split())


def _machine_holds(sweep: Sweep, ids: list[str]) -> set[str]:
    """The ids of jobs that run on this machine, where submitit uses process ids."""
    for pid in map(int, ids):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # a dead child process exists until its parent has waited for it
    return {pid for pid in ids if alive(sweep.model_copy(update={"pid": int(pid)}))}


def give_up(sweep: Path, job: str, tasks: int) -> None:
    """Write the results that submitit waits for, in the name of a job that ended without writing any.

    submitit asks `sacct` only, which reports nothing if SLURM has no database, and would wait forever.
    """
    for task in range(tasks):
        path = sweep / ".submitit" / job / f"{job}_{task}_result.pkl"
        if not path.exists():
            write(path, pickle.dumps(("error", f"job {job} has left SLURM's queue without a word")))
