"""`run.json`: what was asked for, how often the run was started, how far each attempt came, what it cost."""

from __future__ import annotations

import json
import logging
import os
import platform
import resource
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from dataset_distillation.errors import DAMAGED, UserError
from dataset_distillation.files import write_json
from dataset_distillation.run.run import Run

log = logging.getLogger(__name__)


class Attempts:
    """The attempt that runs, behind those before it; up to date at each checkpoint, for it may be killed."""

    def __init__(self, run: Run) -> None:
        self.path = run.folder / "run.json"
        record = begun(run.folder)
        if record is None or record["config"] != run.config:
            asked = {"overrides": run.overrides, "config": run.config}
            record = {"cwd": os.getcwd(), **asked, "attempts": []}
        self.record = record
        self.begun, self.cpu = time.time(), _cpu_seconds()
        self.now: dict[str, Any] = {
            "started": _timestamp(self.begun),
            "host": platform.node(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            "git_commit": run.code.commit,
            "git_dirty": bool(run.code.changes),
            "outer_steps": None,
            "end": None,  # stays so where it is killed: `until` is when it was last seen
        }
        self._warn_of_other_code()
        self.record["attempts"].append(self.now)
        self.save(None)

    def save(self, outer_steps: int | None) -> None:
        """Note the time, what the attempt has cost, and how many outer steps a checkpoint has kept."""
        self.now |= {
            "until": _timestamp(time.time()),
            "seconds": round(time.time() - self.begun, 2),
            "cpu_seconds": round(_cpu_seconds() - self.cpu, 2),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "peak_gpu_memory_mb": _peak_gpu_memory(),
            "outer_steps": self.now["outer_steps"] if outer_steps is None else outer_steps,
        }
        write_json(self.path, self.record)

    def _warn_of_other_code(self) -> None:
        for before in self.record["attempts"][-1:]:
            if before["git_commit"] != self.now["git_commit"]:
                log.warning("the code is no longer that of commit %s: bits may differ", before["git_commit"])

    def __enter__(self) -> Attempts:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind:
            self.end("failed" if issubclass(kind, Exception) else "interrupted")

    def end(self, how: str) -> None:
        self.now["end"] = how
        self.save(None)

    def cost(self) -> dict[str, Any]:
        """Start, end so far, and the sums and peaks over all attempts."""
        self.save(None)
        attempts = self.record["attempts"]
        sums = {key: round(sum(a[key] for a in attempts), 2) for key in ("seconds", "cpu_seconds")}
        memory = ("peak_memory_mb", "peak_gpu_memory_mb")
        peaks = {key: max((a[key] for a in attempts if a[key] is not None), default=None) for key in memory}
        times = {"started": attempts[0]["started"], "ended": self.now["until"]}
        return {**times, **sums, **peaks}


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def _cpu_seconds() -> float:
    """Of this process and of those that it has started and waited for."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


def _peak_gpu_memory() -> int | None:
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_initialized() else None


_RECORD: dict[str, Any] = {"cwd": str, "overrides": list, "config": dict, "attempts": list}
_ATTEMPT: dict[str, Any] = {
    "started": str,
    "seconds": int | float,
    "cpu_seconds": int | float,
    "git_commit": str | None,
    "peak_memory_mb": int | None,
    "peak_gpu_memory_mb": int | None,
}


def begun(folder: Path) -> dict[str, Any] | None:
    """`run.json` of `folder` (attempts.py), None where there is none. Raises UserError for anything else."""
    path = folder / "run.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        parts = [(_RECORD, record), *((_ATTEMPT, attempt) for attempt in record["attempts"])]
        if wrong := [key for kinds, part in parts for key in kinds if not isinstance(part[key], kinds[key])]:
            raise ValueError(f"{wrong[0]} is of another kind")
    except FileNotFoundError:
        return None
    except (OSError, *DAMAGED) as error:
        raise UserError(f"{path}: not the record of a run, or damaged ({error})") from error
    return record
