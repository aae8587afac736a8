"""Where the curves, images and tables of a run are shown while it runs.

To add one: one file here with a dataclass derived from `Logger`, and one YAML in `conf/logger/`.
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
    """What a run is called in a dashboard: its name, the sweep it belongs to, and its tags."""

    name: str
    group: str | None
    tags: list[str]


class EvaluationView(NamedTuple):
    """An evaluation to show: one row per method, one row per run, the charts.

    `mean`, `std`, `min` and `max` of a method are of the first of `metrics`; `<metric>/mean`, ... of others.
    `charts` draws those of the report's page, by name: `distribution/accuracy`, `confusion/distilled`, ...
    """

    methods: pandas.DataFrame
    runs: pandas.DataFrame
    metrics: list[str]
    charts: Callable[[], dict[str, Figure]]


@dataclass
class Logger:
    """What every logger can be told. Scalars reach it through Lightning; the rest through these calls."""

    def open(
        self, folder: Path, config: dict[str, Any], title: Title
    ) -> list[pytorch_lightning.loggers.Logger]:
        """Lightning's loggers, writing below the run's `folder`; `config` is what they show of it."""
        return []

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        """Show pictures (channels, height, width), in [0, 1], of the distilled images at outer `step`."""

    def finish(
        self, evaluation: EvaluationView | None, artifact: Path | None, cost: dict[str, Any], succeeded: bool
    ) -> None:
        """Show the evaluation and the `cost`, keep the artifact, and close: the next job is another run."""
