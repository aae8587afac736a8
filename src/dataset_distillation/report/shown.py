"""An evaluation as loggers show it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from dataset_distillation.evaluation.comparison import metrics
from dataset_distillation.loggers import Shown
from dataset_distillation.objectives import shown
from dataset_distillation.problem import Problem


def show(problem: Problem, evaluation: list[dict[str, Any]], runs: pandas.DataFrame, folder: Path) -> Shown:
    """What `compare` left in `folder`, with its `records`, for a logger."""
    e = problem.experiment
    names = shown(e.objective.metric, metrics(runs))
    matrices = json.loads((folder / "confusion.json").read_text())
    return Shown(
        pandas.DataFrame([_flat(record, names[1:]) for record in evaluation]).assign(
            selection=e.evaluation.selection
        ),
        runs,
        names,
        {method: np.array(matrix) for method, matrix in matrices.items()},
        problem.data.specification.class_names,
    )


def _flat(record: dict[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """A record with the `others` of its metrics as `<metric>/mean`, ..."""
    spreads = {f"{name}/{key}": value for name in others for key, value in record["metrics"][name].items()}
    return {key: value for key, value in record.items() if key != "metrics"} | spreads
