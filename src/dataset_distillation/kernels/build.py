"""Compiles the kernels, once per machine, and loads them into torch."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
# Without errno and traps the compiler may vectorize; sums keep their order, and NaN stays NaN.
MATH = ("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
FLAGS = ("-std=c++20", "-O3", "-march=native", *MATH, "-Wno-psabi")
LIMIT = 600  # seconds; eight on an idle core


def load() -> None:
    """Load the library of the kernels, which is compiled if it is not in the cache.

    Raises RuntimeError, with a message of one line, if there is no C++ compiler, or if it fails.
    """
    path = library()
    try:
        if not path.exists():
            _compile(path)
        torch.ops.load_library(path)
    except (OSError, subprocess.SubprocessError) as error:
        # A compiler says most in the first line that has an error.
        lines = (getattr(error, "stderr", None) or str(error)).splitlines() or [type(error).__name__]
        raise RuntimeError(next((line for line in lines if "error" in line), lines[0])) from error


def library() -> Path:
    """Return the file in the cache for these sources, this compiler, this torch and this processor."""
    sources = sorted((*FOLDER.glob("*.h"), *FOLDER.glob("*.cpp")))
    parts = [compiler(), *FLAGS, torch.__version__, _processor(), *(path.read_text() for path in sources)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return cache() / f"kernels-{key}.so"


def compiler() -> str:
    """Return `$CXX`, or the compiler of the system. Raises RuntimeError if there is none."""
    if not (found := shutil.which(os.environ.get("CXX", "c++"))):
        raise RuntimeError("there is no C++ compiler")
    return found


def cache() -> Path:
    """The folder of compiled kernels: `$XDG_CACHE_HOME/dataset-distillation`, or below `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "dataset-distillation"


def _compile(path: Path) -> None:
    """Compile into a file of its own and move it, since other processes may do the same at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch_folder = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        includes = (torch_folder / "include", torch_folder / "include/torch/csrc/api/include")
        link = [f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10"]
        abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
        command = [compiler(), *FLAGS, abi, "-shared", "-fPIC", *(f"-I{include}" for include in includes)]
        command += [str(FOLDER / "operations.cpp"), "-o", str(made), *link]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT)
        os.replace(made, path)


def _processor() -> str:
    """What `-march=native` depends on: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
