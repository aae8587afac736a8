"""The table of all methods: every row by the same held-out networks, which are drawn once."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from torch import Tensor

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import DAMAGED
from dataset_distillation.evaluation.baselines import BASELINES, Setting
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.files import write, write_json
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.loggers import Shown
from dataset_distillation.objectives import shown
from dataset_distillation.problem import Problem

log = logging.getLogger(__name__)

#: What may have been chosen for a method, with the types that let it be missing.
SETTINGS = {"learning_rate": "Float64", "epochs": "Int64", "distance": "string", "k": "Int64"}


def compare(
    problem: Problem,
    networks: Sequence[Weights],
    folder: Path,
    sets: Sequence[Sequence[Step]],
    learning_rates: Tensor | None,
    resumed: bool = False,
) -> pandas.DataFrame:
    """Every method on the test split: untrained networks, the distilled `sets` of steps, and the baselines.

    Without distilled sets there is no such row. Returns one row a run: method, set, network, the metrics,
    the settings, and the method's seconds. Written to `evaluation.csv` as each method is finished, and if
    `resumed` baselines that stand there are not made again; `confusion.json` has the mean confusion matrices,
    if there are classes.
    """
    earlier = _read(folder) if resumed else None
    finished, matrices = [], {}
    for method, taken in {"before_training": [()], "distilled": sets}.items():
        if taken:
            began = time.perf_counter()
            runs, confusion = held_out(problem, problem.data.test, networks, taken)
            # Orders of the same images are no other sets.
            finished.append(_named(method, runs.assign(set=0), began))
            if confusion is not None:
                matrices[method] = confusion.tolist()
    write_json(folder / "confusion.json", matrices)
    setting = Setting(problem, networks, learning_rates)
    for method in problem.experiment.evaluation.baselines:
        if earlier is not None and method in set(earlier["method"]):
            finished.append(earlier[earlier["method"] == method])
            continue
        log.info("baseline: %s", method.replace("_", " "))
        began = time.perf_counter()
        finished.append(_named(method, BASELINES[method](setting), began))
        _write(pandas.concat(finished, ignore_index=True), folder)
    return _write(pandas.concat(finished, ignore_index=True), folder)


def _named(method: str, runs: pandas.DataFrame, began: float) -> pandas.DataFrame:
    columns = ["method", "set", "network", *metrics(runs), *SETTINGS, "seconds"]
    runs = runs.assign(method=method, seconds=round(time.perf_counter() - began, 2))
    return runs.reindex(columns=columns).astype({"network": "Int64", **SETTINGS})


def _read(folder: Path) -> pandas.DataFrame | None:
    if not (path := folder / "evaluation.csv").exists():
        return None
    try:
        found = pandas.read_csv(path, dtype={"network": "Int64", **SETTINGS})
        numbers = dict.fromkeys(("seconds", *metrics(found)), float)
        return found.astype({"method": str, "set": int, **numbers})
    except DAMAGED as error:
        log.warning("%s: damaged (%s); the baselines are made again", path, " ".join(str(error).split()))
        return None


def _write(table: pandas.DataFrame, folder: Path) -> pandas.DataFrame:
    write(folder / "evaluation.csv", table.to_csv(index=False).encode())
    return table


def metrics(runs: pandas.DataFrame) -> list[str]:
    """The columns that are metrics."""
    return [c for c in runs if c not in ("method", "set", "network", *SETTINGS, "seconds")]


def records(table: pandas.DataFrame, metric: str) -> list[dict[str, Any]]:
    """`result.json`'s list: one record a method, of the objective's `metric`, and in `metrics` of all."""
    ours = table[table["method"] == "distilled"]
    return [_record(runs, ours, metric) for _, runs in table.groupby("method", sort=False)]


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


def _record(runs: pandas.DataFrame, ours: pandas.DataFrame, metric: str) -> dict[str, Any]:
    method, found = runs["method"].iloc[0], {name: _spread(runs[name]) for name in metrics(runs)}
    alone = ours.empty or method == "distilled"
    compared = (None, None, None) if alone else difference(ours, runs, metric)
    return {
        "method": method,
        **found[metric],
        "runs": len(runs),
        "networks": int(runs["network"].nunique()),
        "sets": int(runs["set"].nunique()),
        **dict(zip(("difference", "low", "high"), compared, strict=True)),
        **{name: _plain(runs[name].iloc[0]) for name in (*SETTINGS, "seconds")},
        "metrics": found,
    }


def _spread(values: pandas.Series) -> dict[str, float | None]:
    """None where any run has no finite value: the mean of the others would flatter."""
    if not np.isfinite(values).all():
        return dict.fromkeys(("mean", "std", "min", "max"))
    statistics = {"mean": values.mean(), "std": values.std(ddof=0), "min": values.min(), "max": values.max()}
    return {name: _plain(value) for name, value in statistics.items()}


def _plain(value: Any) -> Any:
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
