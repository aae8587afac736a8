"""Means, differences and intervals over the runs of a method."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas

from dataset_distillation.run.records import Spread


def spread(values: pandas.Series) -> Spread:
    """None where any run has no finite value: the mean of the others would flatter."""
    if not np.isfinite(values).all():
        return Spread(mean=None, std=None, min=None, max=None)
    return Spread(mean=values.mean(), std=values.std(ddof=0), min=values.min(), max=values.max())


def plain(value: Any) -> Any:
    """What JSON knows: no NaN, and numbers of Python."""
    if pandas.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def difference(
    ours: pandas.DataFrame, theirs: pandas.DataFrame, metric: str
) -> tuple[float | None, float | None, float | None]:
    """Mean of ours − theirs, and its 95 % interval: None where one run is all there is.

    All three are None where the metric of any run is not finite.

    Paired: each of their runs is compared with ours on the same network, and the interval is Student's t
    over these differences. Rows without a network have nothing to pair; theirs is Welch's t interval.
    """
    if not np.isfinite([*ours[metric], *theirs[metric]]).all():
        return None, None, None
    values, networks = theirs[metric].to_numpy(float), theirs["network"]
    if networks.isna().any() and len(ours) > 1:
        apart, shares = (
            ours[metric].mean() - values.mean(),
            [_share(ours[metric].to_numpy(float)), _share(values)],
        )
    else:
        paired = ours.set_index("network")[metric].loc[networks.fillna(0)].to_numpy(float) - values
        apart, shares = paired.mean(), [_share(paired)]
    return float(apart), *_interval(apart, shares)


def _share(values: np.ndarray) -> tuple[float, int]:
    """The variance of the mean of `values`, and its degrees of freedom."""
    return (values.var(ddof=1) / len(values) if len(values) > 1 else 0.0), len(values) - 1


def _interval(mean: float, shares: list[tuple[float, int]]) -> tuple[float | None, float | None]:
    """Student's t interval around a sum of independent means, with Welch and Satterthwaite's degrees."""
    from scipy import stats

    variance = sum(share for share, _ in shares)
    if min(freedom for _, freedom in shares) < 1:
        return None, None
    if variance == 0:
        return float(mean), float(mean)
    freedom = variance**2 / sum(share**2 / degrees for share, degrees in shares)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    return float(mean - half), float(mean + half)
