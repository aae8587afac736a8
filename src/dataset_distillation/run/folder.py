"""The names of the files in the folder of a run and of a multirun; records.py describes their contents."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from dataset_distillation.errors import given, refuse, short
from dataset_distillation.files import is_temporary

# A run.
CONFIG = "config.yaml"  # the resolved config
RUN = "run.json"  # the config and the overrides, and every attempt
STATUS = "status.json"  # signs of life while the run goes on
RESULT = "result.json"  # how it ended
ARTIFACT = "distilled.safetensors"
EVALUATION = "evaluation.csv"  # one row per run of the table of all methods
CONFUSION = "confusion.json"
HISTORY = "history.csv"  # the curves
CHECKPOINTS = "checkpoints"
CHECKPOINT = "step_{}.ckpt"  # in `CHECKPOINTS`, with the number of outer steps in eight digits
IMAGES = "images"
GRID = "grid.png"  # in `IMAGES`, as is `REAL`
REAL = "real.png"
LOG = "distill.log"
CHANGES = "uncommitted.diff"  # how the code differed from its commit
PAGE = "report.html"  # a multirun has one, too

# A multirun, whose jobs are in the folders 0, 1, ...
SWEEP = "sweep.json"
TABLE_CSV = "sweep.csv"
TABLE_MARKDOWN = "sweep.md"

#: What a run has in its folder while it goes on, or once it has got somewhere.
WORK_MARKS = (STATUS, RESULT, f"{CHECKPOINTS}/{CHECKPOINT.format('*')}")
#: What shows that a folder is that of a run, or of a multirun.
RUN_MARKS = (RUN, *WORK_MARKS)
SWEEP_MARKS = (SWEEP,)
LOGS = (".log", ".out", ".err")


def folder_of(key: str, path: str) -> Path:
    """Return the folder `path`.

    Raises ConfigError, naming `key`, if it is empty, which would mean the present folder, or if Hydra would
    take its name for an interpolation.
    """
    folder = Path(given(key, path))
    if folder.parts[:1] == ("~",):
        raise refuse(key, folder, "~ stands for no folder in a config", f"type {key}=$HOME/...")
    if "${" in str(folder.absolute()):
        raise refuse(key, folder, "no run can be in a folder whose name contains ${", "rename the folder")
    return folder


def check_own(key: str, folder: Path, marks: tuple[str, ...], besides: str | None = None) -> None:
    """Raise ConfigError unless `folder` is new, or holds one of `marks`, or nothing but logs and `besides`.

    Nor can a run be in a folder that cannot be written.

    A shell or SLURM may write its log there before the run begins, and a run that was killed at once leaves
    its own log and Hydra's folder `besides`.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if there.is_dir() and not os.access(there, os.W_OK):
        raise refuse(key, folder, f"{there} cannot be written", "use a folder of another place")
    if not folder.is_dir() or holds(folder, marks):
        return
    foreign = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix not in LOGS and path.name != besides and not is_temporary(path)
    )
    if foreign:
        remedy = "use a new folder, such as one inside it"
        raise refuse(key, folder, f"holds other things ({short(foreign[0], 80)})", remedy)


def holds(folder: Path, marks: tuple[str, ...]) -> bool:
    """Whether one of `marks` is in `folder`."""
    return any(list(folder.glob(mark)) for mark in marks)


def missing(folder: Path) -> list[Path]:
    """Return `folder` and those above it that do not exist, the lowest first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove(made: list[Path]) -> None:
    """Remove the folder made[0] and what is in it, and those above it if nothing else is in them."""
    with contextlib.suppress(OSError):
        shutil.rmtree(made[0])
        for folder in made[1:]:
            folder.rmdir()


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, the one after the fewest outer steps first."""
    return sorted(folder.glob(CHECKPOINT.format("*")))


def is_run(folder: Path) -> bool:
    """Whether a run has ended in `folder`."""
    return (folder / RESULT).exists()
