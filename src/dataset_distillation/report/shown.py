"""An evaluation as loggers show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas
from matplotlib.figure import Figure

from dataset_distillation.evaluation.comparison import Comparison, metrics
from dataset_distillation.loggers import EvaluationView
from dataset_distillation.objectives import shown
from dataset_distillation.report import charts


def view(
    comparison: Comparison,
    records: list[dict[str, Any]],
    metric: str,
    selection: str,
    class_names: Sequence[str],
) -> EvaluationView:
    """A comparison and its `records` for a logger, by the objective's `metric`."""
    names = shown(metric, metrics(comparison.runs))
    methods = pandas.DataFrame([_flat(record, names[1:]) for record in records])
    confusion = {method: np.array(matrix) for method, matrix in comparison.confusion.items()}

    def drawn() -> dict[str, Figure]:
        distributions = charts.distributions(comparison.runs, names, charts.PRINT)
        confusions = charts.confusions(confusion, class_names, charts.PRINT)
        return {
            **{f"distribution/{name}": chart for name, chart in distributions.items()},
            **{f"confusion/{method}": chart for method, chart in confusions.items()},
        }

    return EvaluationView(methods.assign(selection=selection), comparison.runs, names, drawn)


def _flat(record: dict[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """A record with the `others` of its metrics as `<metric>/mean`, ..."""
    spreads = {f"{name}/{key}": value for name in others for key, value in record["metrics"][name].items()}
    return {key: value for key, value in record.items() if key != "metrics"} | spreads
