"""Where the curves, images and tables of a run are shown while it runs.

To add one: one file here with a dataclass derived from `Logger`, and one YAML in `conf/logger/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import pytorch_lightning.loggers
    from matplotlib.figure import Figure
    from torch import Tensor

    from dataset_distillation.run.run import Run


class Shown(NamedTuple):
    """An evaluation to show: a row a method, a row a run, the confusion.

    `mean`, `std`, `min` and `max` of a method are of the first of `metrics`; `<metric>/mean`, ... of others.
    """

    methods: pandas.DataFrame
    runs: pandas.DataFrame
    metrics: list[str]
    confusion: dict[str, np.ndarray]  # by method, [true][predicted]
    class_names: Sequence[str]

    def charts(self) -> dict[str, Figure]:
        """Those of the report's page, by name: `distribution/accuracy`, `confusion/distilled`, ..."""
        from dataset_distillation.report import charts

        distributions = charts.distributions(self.runs, self.metrics, charts.PRINT)
        confusions = charts.confusions(self.confusion, self.class_names, charts.PRINT)
        return {
            **{f"distribution/{metric}": drawn for metric, drawn in distributions.items()},
            **{f"confusion/{method}": drawn for method, drawn in confusions.items()},
        }


@dataclass
class Logger:
    """What every logger can be told. Scalars reach it through Lightning; the rest through these calls."""

    def open(self, run: Run, config: dict[str, Any]) -> list[pytorch_lightning.loggers.Logger]:
        """Lightning's loggers, writing below the folder of `run`; `config` is what they show of it."""
        return []

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        """Show pictures (channels, height, width), in [0, 1], of the distilled images at outer `step`."""

    def finish(
        self, evaluation: Shown | None, artifact: Path | None, cost: dict[str, Any], succeeded: bool
    ) -> None:
        """Show the evaluation and the `cost`, keep the artifact, and close: the next job is another run."""
