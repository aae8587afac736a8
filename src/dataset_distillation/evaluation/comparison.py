"""The table of all methods: every row by the same held-out networks, which are drawn once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas
from torch import Tensor

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import DAMAGED
from dataset_distillation.evaluation.baselines import BASELINES, BaselineContext
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.evaluation.options import Evaluation
from dataset_distillation.evaluation.real_sets import Size
from dataset_distillation.evaluation.statistics import difference, plain, spread
from dataset_distillation.files import write, write_json
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.problem import Problem

log = logging.getLogger(__name__)

#: What may have been chosen for a method, with the types that let it be missing.
SETTINGS = {"learning_rate": "Float64", "epochs": "Int64", "distance": "string", "k": "Int64"}


class Comparison(NamedTuple):
    """One row per run, and by method the mean confusion matrix [true][predicted], where there are classes."""

    runs: pandas.DataFrame
    confusion: dict[str, list[list[float]]]


def compare(
    problem: Problem,
    evaluation: Evaluation,
    networks: Sequence[Weights],
    sets: Sequence[Sequence[Step]],
    size: Size,
    learning_rates: Tensor | None,
    folder: Path | None = None,
    resumed: bool = False,
) -> Comparison:
    """Every method on the test split: untrained networks, the distilled `sets` of steps, and the baselines.

    Without distilled sets there is no such row. A row has the method, set, network, the metrics, the
    settings, and the method's seconds. Written to `evaluation.csv` in the `folder`, if any, as each method is
    finished, and if `resumed` baselines that stand there are not made again; `confusion.json` has the
    confusion matrices.
    """
    earlier = _read(folder) if folder and resumed else None
    finished, matrices = [], {}
    for method, of_method in {"before_training": [()], "distilled": sets}.items():
        if of_method:
            began = time.perf_counter()
            runs, confusion = held_out(problem, problem.data.test, networks, of_method)
            # Orders of the same images are no other sets.
            finished.append(_named(method, runs.assign(set=0), began))
            if confusion is not None:
                matrices[method] = confusion.tolist()
    if folder:
        write_json(folder / "confusion.json", matrices)
    context = BaselineContext(problem, evaluation, networks, size, learning_rates)
    for method in evaluation.baselines:
        if earlier is not None and method in set(earlier["method"]):
            finished.append(earlier[earlier["method"] == method])
            continue
        log.info("baseline: %s", method.replace("_", " "))
        began = time.perf_counter()
        finished.append(_named(method, BASELINES[method](context), began))
        _write(finished, folder)
    return Comparison(_write(finished, folder), matrices)


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


def _write(finished: Sequence[pandas.DataFrame], folder: Path | None) -> pandas.DataFrame:
    table = pandas.concat(finished, ignore_index=True)
    if folder:
        write(folder / "evaluation.csv", table.to_csv(index=False).encode())
    return table


def metrics(runs: pandas.DataFrame) -> list[str]:
    """The columns that are metrics."""
    return [c for c in runs if c not in ("method", "set", "network", *SETTINGS, "seconds")]


def records(table: pandas.DataFrame, metric: str) -> list[dict[str, Any]]:
    """`result.json`'s list: one record a method, of the objective's `metric`, and in `metrics` of all."""
    ours = table[table["method"] == "distilled"]
    return [_record(runs, ours, metric) for _, runs in table.groupby("method", sort=False)]


def _record(runs: pandas.DataFrame, ours: pandas.DataFrame, metric: str) -> dict[str, Any]:
    method, found = runs["method"].iloc[0], {name: spread(runs[name]) for name in metrics(runs)}
    alone = ours.empty or method == "distilled"
    compared = (None, None, None) if alone else difference(ours, runs, metric)
    return {
        "method": method,
        **found[metric],
        "runs": len(runs),
        "networks": int(runs["network"].nunique()),
        "sets": int(runs["set"].nunique()),
        **dict(zip(("difference", "low", "high"), compared, strict=True)),
        **{name: plain(runs[name].iloc[0]) for name in (*SETTINGS, "seconds")},
        "metrics": found,
    }
