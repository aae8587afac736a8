"""An evaluation in the form that loggers show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas
from matplotlib.figure import Figure

from dataset_distillation.distilled.pictures import or_a_line
from dataset_distillation.evaluation.comparison import Comparison, flat
from dataset_distillation.loggers import EvaluationView
from dataset_distillation.objectives import Metric
from dataset_distillation.report import charts, drawing
from dataset_distillation.run.records import EvaluationRow


def view(
    comparison: Comparison,
    rows: list[EvaluationRow],
    metrics: Sequence[Metric],
    selection: str,
    class_names: Sequence[str],
) -> EvaluationView:
    """Return a comparison and its `rows` for a logger, by the objective's `metrics`."""
    methods = pandas.DataFrame([flat(row, metrics[1:], "/") for row in rows])
    confusion = {method: np.array(matrix) for method, matrix in comparison.confusion.items()}

    def drawn() -> dict[str, Figure]:
        shown: dict[str, Figure] = {}
        with or_a_line("the distribution over networks"):
            distributions = charts.distributions(comparison.runs, metrics, drawing.PRINT)
            shown |= {f"distribution/{metric.name}": chart for metric, chart in distributions.items()}
        with or_a_line("the confusion of classes"):
            confusions = charts.confusions(confusion, class_names, drawing.PRINT)
            shown |= {f"confusion/{method}": chart for method, chart in confusions.items()}
        return shown

    return EvaluationView(
        methods.assign(selection=selection), comparison.runs, [metric.name for metric in metrics], drawn
    )
