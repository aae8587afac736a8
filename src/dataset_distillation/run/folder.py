"""What the files in the folder of a run, and of a multirun, are called. What is in them, records.py says."""

from __future__ import annotations

from pathlib import Path

# A run.
CONFIG = "config.yaml"  # the resolved config
RUN = "run.json"  # what was asked for, and every attempt
STATUS = "status.json"  # signs of life, while it runs
RESULT = "result.json"  # how it ended
ARTIFACT = "distilled.safetensors"
EVALUATION = "evaluation.csv"  # one row per run of the table of all methods
CONFUSION = "confusion.json"
HISTORY = "history.csv"  # the curves
CHECKPOINTS = "checkpoints"
IMAGES = "images"
GRID = "grid.png"  # in `IMAGES`, as the next two
REAL = "real.png"
LOG = "distill.log"
CHANGES = "uncommitted.diff"  # how the code differed from its commit
PAGE = "report.html"  # of a multirun, too

# A multirun, whose jobs are in the folders 0, 1, ...
SWEEP = "sweep.json"
TABLE_CSV = "sweep.csv"
TABLE_MARKDOWN = "sweep.md"


def step_picture(step: int) -> str:
    """The picture of a step's images, in `IMAGES`."""
    return f"step_{step:02}.png"


def is_run(folder: Path) -> bool:
    """Whether a run has ended in `folder`."""
    return (folder / RESULT).exists()
