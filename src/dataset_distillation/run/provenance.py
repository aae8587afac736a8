"""The part of a result that allows a run to be repeated: the code, the machine and the data."""

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
    """The commit that runs, and how the files differ from it; empty if the code is not in a checkout."""

    commit: str | None = None
    changes: bytes = b""

    @classmethod
    def running(cls) -> Code:
        """Return the state of the code now, since later commits or edits are not what was imported."""
        try:
            _git("ls-files", "--error-unmatch", __file__)  # a .venv may be inside another checkout
            commit = _git("rev-parse", "HEAD").decode().strip()
            top = Path(_git("rev-parse", "--show-toplevel").decode().strip())
            changes = _git("diff", "HEAD", "--binary", "--no-ext-diff", top=top)
            new = _git("ls-files", "-z", "--others", "--exclude-standard", "src", "conf", top=top)
            for path in filter(None, new.decode().split("\0")):  # git exits with 1 because the files differ
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
    """Return what is needed to repeat the run.

    It has no times, so that the artifact of a resumed run has the same bits as that of an uninterrupted one.
    """
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
    """The versions of Python, of this package and of its requirements."""
    package = "dataset-distillation"
    required = map(Requirement, requires(package) or [])
    always = [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {"python": platform.python_version(), **{name: version(name) for name in (package, *always)}}


def hardware(device: torch.device) -> dict[str, Any]:
    """The hardware that computed the numbers; memory in GiB."""
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
