"""What this machine has."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

#: torch.compile needs them for a CPU.
compiler = pytest.mark.skipif(
    not (shutil.which("g++") and Path(sysconfig.get_path("include"), "Python.h").exists()),
    reason="needs g++ and Python's header files",
)
