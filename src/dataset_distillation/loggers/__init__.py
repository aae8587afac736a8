"""Loggers: where the curves, images and tables of a run are shown while it runs.

To add one: write one file here with a dataclass derived from `Logger`, and one YAML in `conf/logger/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas
    import pytorch_lightning.loggers
    from matplotlib.figure import Figure
    from torch import Tensor


class Title(NamedTuple):
    """The title of a run in a dashboard: its name, the sweep it belongs to, and its tags."""

    name: str
    group: str | None
    tags: list[str]


class EvaluationView(NamedTuple):
    """An evaluation to show: one row per method, one row per run, and the charts.

    `mean`, `std`, `min` and `max` of a method belong to the first of `metrics`; the others have
    `<metric>/mean`, ... `charts` draws the charts of the report by name: `distribution/accuracy`,
    `confusion/distilled`, ...
    """

    methods: pandas.DataFrame
    runs: pandas.DataFrame
    metrics: list[str]
    charts: Callable[[], dict[str, Figure]]


@dataclass
class Logger:
    """The base class of all loggers.

    Scalars reach a logger through Lightning; everything else reaches it through these calls.
    """

    def open(
        self, folder: Path, config: dict[str, Any], title: Title
    ) -> list[pytorch_lightning.loggers.Logger]:
        """Return Lightning's loggers, which write below the run's `folder` and show `config`."""
        return []

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        """Show pictures (channels, height, width) in [0, 1] of the distilled images at outer `step`."""

    def finish(
        self, evaluation: EvaluationView | None, artifact: Path | None, cost: dict[str, Any], succeeded: bool
    ) -> None:
        """Show the evaluation and the `cost`, store the artifact, and close; the next job is another run."""
