"""Means, differences and intervals over the runs of a method."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas

from dataset_distillation.run.records import Spread


def spread(values: pandas.Series) -> Spread:
    """Mean, unbiased standard deviation (None for a single run), minimum and maximum.

    All are None if any value is not finite: the mean of the other runs would look too good.
    """
    if not np.isfinite(values).all():
        return Spread(mean=None, std=None, min=None, max=None)
    return Spread(mean=values.mean(), std=plain(values.std(ddof=1)), min=values.min(), max=values.max())


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: None for NaN, and Python's numbers instead of numpy's."""
    if pandas.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


class Difference(NamedTuple):
    """The mean of distilled − others, its 95 % interval, and what would lie in it in 95 % of repetitions."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    about: str | None = None


def difference(distilled: pandas.DataFrame, others: pandas.DataFrame, metric: str) -> Difference:
    """Return distilled − others; everything is None if the metric of any run is not finite.

    The difference is paired: each of the other runs is compared with the distilled run on the same network.
    Runs on one set share its effect, so they are not independent, but the means of the sets are: no network
    is met by two sets if there are as many networks as sets. The interval is Student's t over these means, or
    over the runs if there is one set. Runs without a network, or on networks that the distilled data have not
    met, cannot be paired; for them it is Welch's. Each set counts alike, whatever its number of runs.

    With fewer networks than sets, the interval is about new sets alone. If there is a single run, there is
    none.
    """
    if not np.isfinite([*distilled[metric], *others[metric]]).all():
        return Difference()
    values, sets, networks = others[metric].to_numpy(float), others["set"], others["network"]
    own = distilled.set_index("network")[metric]
    if len(own) > 1 and not networks.isin(own.index).all():
        theirs = _by_set(values, sets)
        apart, shares = own.mean() - theirs.mean(), [_share(own.to_numpy(float)), _share(theirs)]
        judges = math.inf
    else:
        paired = (own.loc[networks].to_numpy(float) if len(own) > 1 else own.iloc[0]) - values
        by_set = _by_set(paired, sets)
        apart, shares = by_set.mean(), [_share(by_set)]
        judges = max(1, networks.nunique())
    low, high = _interval(apart, shares)
    return Difference(float(apart), low, high, None if low is None else _about(sets.nunique(), judges))


def _by_set(values: np.ndarray, sets: pandas.Series) -> np.ndarray:
    """Return the mean of each set, or all values if there is one set."""
    return values if sets.nunique() == 1 else pandas.Series(values).groupby(sets.to_numpy()).mean().to_numpy()


def _about(sets: int, networks: float) -> str:
    if sets == 1:
        return "any networks, this set"
    if networks >= sets:
        return "any sets and networks"
    return f"any sets, {'this network' if networks == 1 else 'these networks'}"


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
