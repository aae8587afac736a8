"""Means, differences and intervals over the runs of a method."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas

from dataset_distillation.run.records import Spread


def spread(values: pandas.Series) -> Spread:
    """Mean, standard deviation, minimum and maximum.

    All are None if any value is not finite: the mean of the other runs would look too good.
    """
    if not np.isfinite(values).all():
        return Spread(mean=None, std=None, min=None, max=None)
    return Spread(mean=values.mean(), std=values.std(ddof=0), min=values.min(), max=values.max())


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: None for NaN, and Python's numbers instead of numpy's."""
    if pandas.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def difference(
    distilled: pandas.DataFrame, others: pandas.DataFrame, metric: str
) -> tuple[float | None, float | None, float | None]:
    """Return the mean of distilled − others, and its 95 % interval, which is None if there is only one run.

    All three are None if the metric of any run is not finite.

    The difference is paired: each of the other runs is compared with the distilled run on the same
    network, and the interval is Student's t over these differences. Runs without a network cannot be paired;
    for them the interval is Welch's.
    """
    if not np.isfinite([*distilled[metric], *others[metric]]).all():
        return None, None, None
    values, networks = others[metric].to_numpy(float), others["network"]
    if networks.isna().any() and len(distilled) > 1:
        apart = distilled[metric].mean() - values.mean()
        shares = [_share(distilled[metric].to_numpy(float)), _share(values)]
    else:
        paired = distilled.set_index("network")[metric].loc[networks.fillna(0)].to_numpy(float) - values
        apart, shares = paired.mean(), [_share(paired)]
    return float(apart), *_interval(apart, shares)


def _share(values: np.ndarray) -> tuple[float, int]:
    """Return the variance of the mean of `values`, and its degrees of freedom."""
    return (values.var(ddof=1) / len(values) if len(values) > 1 else 0.0), len(values) - 1


def _interval(mean: float, shares: list[tuple[float, int]]) -> tuple[float | None, float | None]:
    """Student's t interval around a sum of independent means, with Welch–Satterthwaite degrees of freedom."""
    from scipy import stats

    variance = sum(share for share, _ in shares)
    if min(freedom for _, freedom in shares) < 1:
        return None, None
    if variance == 0:
        return float(mean), float(mean)
    freedom = variance**2 / sum(share**2 / degrees for share, degrees in shares)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    return float(mean - half), float(mean + half)
