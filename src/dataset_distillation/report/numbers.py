"""Numbers as text: shares in percent, losses unchanged."""

from __future__ import annotations

from dataset_distillation.objectives import Metric
from dataset_distillation.run.records import EvaluationRow, Spread


def number(value: float | None, metric: Metric, sign: str = "") -> str:
    """Return a value of `metric` as text, which is empty for None."""
    if value is None:
        return ""
    return f"{100 * value:{sign}.2f} %" if metric.percent else f"{value:{sign}.4g}"


def mean_and_std(spread: Spread | None, metric: Metric) -> str:
    """Return `79.53 ± 8.10 %`, `79.53 %` of one run, or nothing if any run has no finite value."""
    if spread is None or spread.mean is None:
        return ""
    if spread.std is None:
        return number(spread.mean, metric)
    return f"{number(spread.mean, metric).removesuffix(' %')} ± {number(spread.std, metric)}"


def difference(row: EvaluationRow, metric: Metric) -> str:
    """Return `+42.11 % [+41.02, +43.20]`: distilled − this method, and its 95 % interval."""
    interval = ""
    if row.low is not None and row.high is not None:
        low, high = (number(bound, metric, "+").removesuffix(" %") for bound in (row.low, row.high))
        interval = f" [{low}, {high}]"
    return number(row.difference, metric, "+") + interval


def about(row: EvaluationRow) -> str:
    """Return what the interval of a row is about; that of an older record is about its own sets alone."""
    if row.low is None:
        return ""
    return row.about or ("any networks, this set" if row.sets == 1 else "these sets and networks")
