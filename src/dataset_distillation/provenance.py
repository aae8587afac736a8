"""What was asked for, by which code, on which machine, at what cost: the part of a result that repeats it."""

from __future__ import annotations

import platform
import resource
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dataset_distillation.errors import UserError
from dataset_distillation.files import write_json
from dataset_distillation.problem import Problem


def git_commit() -> str | None:
    """The commit of the code that runs, if it runs from a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@dataclass(frozen=True)
class Run:
    """Where a run writes, and what it was asked for."""

    folder: Path
    config: dict[str, Any]  # the resolved experiment
    choices: dict[str, str]  # the chosen file of each group
    overrides: list[str]
    commit: str | None = field(default_factory=git_commit)  # as the run begins: it may be another at the end

    def record(self, result: dict[str, Any]) -> None:
        """Write `result.json`: the outcome, and what was asked for."""
        asked = {"choices": self.choices, "overrides": self.overrides, "config": self.config}
        write_json(self.folder / "result.json", {**result, **asked})

    def record_failure(self, error: BaseException) -> None:
        message = " ".join(str(error).split())
        message = message if isinstance(error, UserError) else f"{type(error).__name__}: {message}"
        self.record({"status": "failed", "error": message})


def provenance(problem: Problem, run: Run, started: float) -> dict[str, Any]:
    """What is needed to repeat the run, and what it cost."""
    return {
        "command": shlex.join(["distill", *sys.argv[1:]]),
        "git_commit": run.commit,
        "versions": versions(),
        "platform": platform.platform(),
        "device": str(next(problem.network.parameters()).device),
        "threads": torch.get_num_threads(),
        "data_checksum": problem.data.checksum,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(started)),
        "seconds": round(time.time() - started, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def versions() -> dict[str, str]:
    packages = ("dataset-distillation", "torch", "torchvision", "pytorch-lightning", "hydra-core", "higher")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
