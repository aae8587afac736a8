"""The table of all methods; the same held-out networks, drawn once, judge every row."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas
from torch import Tensor

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import FileError
from dataset_distillation.evaluation.baselines import BASELINES, BaselineContext
from dataset_distillation.evaluation.explain import Variant
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.evaluation.options import Evaluation, Training
from dataset_distillation.evaluation.real_sets import Size
from dataset_distillation.evaluation.statistics import Difference, difference, plain, spread
from dataset_distillation.files import write
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.objectives import Metric
from dataset_distillation.problem import Problem
from dataset_distillation.run.folder import CONFUSION, EVALUATION
from dataset_distillation.run.records import Confusion, EvaluationRow, save
from dataset_distillation.run.tables import read_table

log = logging.getLogger(__name__)

#: The settings that may be chosen for a method, with column types that allow missing values.
SETTINGS = {
    "learning_rate": "Float64", "epochs": "Int64", "steps": "Int64", "distance": "string", "k": "Int64",
}  # fmt: skip


class Comparison(NamedTuple):
    """One row per run, and each method's mean confusion matrix [true][predicted] if there are classes."""

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
    how: Training | None = None,
    variants: Iterable[Variant] = (),
) -> Comparison:
    """Return the runs of every method on the test split.

    The methods are: untrained networks, the distilled `sets` of steps (if there are any), and the baselines.
    A row has the method, set, network, the metrics, the settings, and the method's seconds.

    folder: if it is set, `evaluation.csv` is written there before each baseline and at the end, and the
        confusion matrices are written to `confusion.json`.
    resumed: baselines that `evaluation.csv` already has are not run again.
    how: how networks are trained on the distilled `sets`, as in `held_out`; if it is ordinary training, also
        on the sets of the baselines.
    variants: the distilled data with one factor changed, each a row behind theirs.
    """
    earlier = _earlier(folder / EVALUATION) if folder and resumed else None
    finished, matrices = [], {}
    for method, method_sets in {"before_training": [()], "distilled": sets}.items():
        if method_sets:
            began = time.perf_counter()
            runs, confusion = held_out(
                problem, problem.data.test, networks, method_sets, evaluation.batch_norm,
                how if method == "distilled" else None,
            )  # fmt: skip
            # Different orders of the same images count as one set.
            finished.append(_named(method, runs.assign(set=0), began))
            if confusion is not None:
                matrices[method] = confusion.tolist()
    for variant in variants:
        log.info("%s", variant.name.replace("_", " "))
        began = time.perf_counter()
        other = variant.problem or problem
        judges = other.population("held-out", len(networks)) if variant.problem else networks
        runs, _ = held_out(other, variant.test, judges, variant.sets, evaluation.batch_norm, variant.how)
        if variant.problem:  # these are other networks than the table's, and have numbers behind those
            runs = runs.assign(network=runs["network"] + len(networks))
        finished.append(_named(variant.name, runs.assign(set=0), began))
    if folder:
        save(Confusion(matrices), folder / CONFUSION)
    if sets:  # what the networks of the table were trained for, if it is not what the data were made for
        size = size._replace(epochs=math.ceil(len(sets[0]) / size.steps))
    context = BaselineContext(problem, evaluation, networks, size, learning_rates, how or Training())
    for method in evaluation.baselines:
        _write(finished, folder)
        if earlier is not None and method in set(earlier["method"]):
            finished.append(earlier[earlier["method"] == method])
            continue
        log.info("baseline: %s", method.replace("_", " "))
        began = time.perf_counter()
        finished.append(_named(method, BASELINES[method](context), began))
    return Comparison(_write(finished, folder), matrices)


def _named(method: str, runs: pandas.DataFrame, began: float) -> pandas.DataFrame:
    columns = ["method", "set", "network", *metrics(runs), *SETTINGS, "seconds"]
    runs = runs.assign(method=method, seconds=round(time.perf_counter() - began, 2))
    return runs.reindex(columns=columns).astype({"network": "Int64", **SETTINGS})


def read_evaluation(path: Path) -> pandas.DataFrame | None:
    """Return the runs in `path`, as `compare` writes them; None if there is no such file.

    Raises FileError if the file is damaged.
    """
    return read_table(path, "the runs of an evaluation", _typed, dtype={"network": "Int64", **SETTINGS})


def _typed(runs: pandas.DataFrame) -> pandas.DataFrame:
    if missing := {"method", "set", "network"} - set(runs):
        raise ValueError(f"no column {min(missing)}")
    runs = runs.reindex(columns=list(dict.fromkeys([*runs, *SETTINGS, "seconds"]))).astype(SETTINGS)
    numbers = dict.fromkeys(("seconds", *metrics(runs)), float)
    return runs.astype({"method": str, "set": int, **numbers})


def _earlier(path: Path) -> pandas.DataFrame | None:
    try:
        return read_evaluation(path)
    except FileError as error:
        log.warning("%s; the baselines are run again", error)
        return None


def _write(finished: Sequence[pandas.DataFrame], folder: Path | None) -> pandas.DataFrame:
    table = pandas.concat(finished, ignore_index=True)
    if folder:
        write(folder / EVALUATION, table.to_csv(index=False).encode())
    return table


def metrics(runs: pandas.DataFrame) -> list[str]:
    """The names of the columns that hold metrics."""
    return [c for c in runs if c not in ("method", "set", "network", *SETTINGS, "seconds")]


def rows_of(runs: pandas.DataFrame, metric: Metric) -> list[EvaluationRow]:
    """Return one row per method with the objective's `metric`; its `metrics` hold all of them."""
    distilled = runs[runs["method"] == "distilled"]
    return [_row(method_runs, distilled, metric) for _, method_runs in runs.groupby("method", sort=False)]


def flat(row: EvaluationRow, others: Sequence[Metric], separator: str) -> dict[str, Any]:
    """Return a row with its method first and the `others` of its metrics as `<metric><separator>mean`, ..."""
    values = {"method": row.method, **row.model_dump(exclude={"metrics"})}
    for metric in others:
        own = row.metrics[metric.name].model_dump()
        values |= {f"{metric.name}{separator}{key}": value for key, value in own.items()}
    return values


def _row(runs: pandas.DataFrame, distilled: pandas.DataFrame, metric: Metric) -> EvaluationRow:
    method, spreads = runs["method"].iloc[0], {name: spread(runs[name]) for name in metrics(runs)}
    alone = distilled.empty or method == "distilled"
    apart = Difference() if alone else difference(distilled, runs, metric.name)
    return EvaluationRow(
        method=method,
        **spreads[metric.name].model_dump(),
        runs=len(runs),
        networks=int(runs["network"].nunique()),
        sets=int(runs["set"].nunique()),
        difference=apart.mean,
        low=apart.low,
        high=apart.high,
        about=apart.about,
        **{name: plain(runs[name].iloc[0]) for name in (*SETTINGS, "seconds")},
        metrics=spreads,
    )
