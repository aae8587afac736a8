"""What was asked for, by which code, on which machine: the part of a result that repeats it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from packaging.requirements import Requirement

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Code:
    """The commit that runs, and how the files differ from it; nothing where the code is no checkout."""

    commit: str | None = None
    changes: bytes = b""

    @classmethod
    def running(cls) -> Code:
        """The code as it is now: a later commit, or edit, is not what has been imported."""
        try:
            _git("ls-files", "--error-unmatch", __file__)  # a .venv may lie in the checkout of something else
            commit = _git("rev-parse", "HEAD").decode().strip()
            top = Path(_git("rev-parse", "--show-toplevel").decode().strip())
            changes = _git("diff", "HEAD", "--binary", "--no-ext-diff", top=top)
            new = _git("ls-files", "-z", "--others", "--exclude-standard", "src", "conf", top=top)
            for path in filter(None, new.decode().split("\0")):  # with code 1: it differs from nothing
                changes += _git("diff", "--no-index", "--binary", os.devnull, path, top=top, codes=(0, 1))
        except (OSError, subprocess.CalledProcessError):
            return cls()
        return cls(commit, changes)


def _git(*arguments: str, top: Path | None = None, codes: tuple[int, ...] = (0,)) -> bytes:
    command = ["git", "-C", str(top or Path(__file__).parent), *arguments]
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode not in codes:
        raise subprocess.CalledProcessError(ended.returncode, command)
    return ended.stdout


def provenance(device: torch.device, data_checksum: str, seed: int, code: Code) -> dict[str, Any]:
    """What is needed to repeat the run. No times: a resumed run has the bits of another."""
    import torch

    return {
        "git_commit": code.commit,
        "git_dirty": bool(code.changes),
        "versions": versions(),
        "platform": platform.platform(),
        "hardware": hardware(device),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "data_checksum": data_checksum,
        "seed": seed,
    }


def versions() -> dict[str, str]:
    """Of Python, of this package and of what it requires."""
    ours = "dataset-distillation"
    needed = map(Requirement, requires(ours) or [])
    always = [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {"python": platform.python_version(), **{name: version(name) for name in (ours, *always)}}


def hardware(device: torch.device) -> dict[str, Any]:
    """What the numbers were computed on; memory in GiB."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _processor() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
