"""Numbers as people read them."""

from __future__ import annotations

from typing import Any

from dataset_distillation.objectives import is_loss


def mean_and_std(record: dict[str, Any], metric: str) -> str:
    """`79.53 ± 8.10 %`; nothing where any run has no finite value."""
    if record["mean"] is None or record["std"] is None:
        return ""
    return f"{number(record['mean'], metric).removesuffix(' %')} ± {number(record['std'], metric)}"


def value(number: float | None, metric: str = "accuracy", digits: int = 2, unit: str = " %") -> str:
    """A metric for the eye: shares in percent, losses as they are, nothing for None."""
    if number is None:
        return ""
    return f"{number:.4g}" if is_loss(metric) else f"{100 * number:.{digits}f}{unit}"


def spread(found: dict[str, Any] | None, metric: str, runs: int) -> str:
    """Mean, and of several runs ± standard deviation, of a metric."""
    if not found or found["mean"] is None:
        return ""
    several = f" ± {value(found['std'], metric, unit='')}" if runs > 1 else ""
    return value(found["mean"], metric) + several


def difference(row: dict[str, Any], metric: str) -> str:
    """The paired difference to the distilled data and its interval, in percent points."""
    unit = 1 if is_loss(metric) else 100
    apart, low, high = (row.get(key) for key in ("difference", "low", "high"))
    if apart is None:
        return ""
    interval = "" if low is None or high is None else f" ({unit * low:+.2f}, {unit * high:+.2f})"
    return f"{unit * apart:+.2f}{interval}"


def number(value: float, metric: str, sign: str = "") -> str:
    """A value of `metric`: shares in percent."""
    return f"{value:{sign}.4g}" if is_loss(metric) else f"{100 * value:{sign}.2f} %"
