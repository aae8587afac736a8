"""Where the curves, images and tables of a run are shown while it runs.

To add one: one file here with a dataclass derived from `Logger`, and one YAML in `conf/logger/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas
    import pytorch_lightning.loggers
    from torch import Tensor

    from dataset_distillation.provenance import Run


class Shown(NamedTuple):
    """An evaluation to show: a row a method, of `metric`, and a row a run."""

    methods: pandas.DataFrame
    runs: pandas.DataFrame
    metric: str


@dataclass
class Logger:
    """What every logger can be told. Scalars reach it through Lightning; the rest through these calls."""

    def open(self, run: Run, config: dict[str, Any]) -> list[pytorch_lightning.loggers.Logger]:
        """Lightning's loggers, writing below the folder of `run`; `config` is what they show of it."""
        return []

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        """Show pictures (channels, height, width), in [0, 1], of the distilled images at outer `step`."""

    def finish(self, evaluation: Shown | None, artifact: Path | None, succeeded: bool) -> None:
        """Show the evaluation, keep the artifact, and close: the next job of this process is another run."""
