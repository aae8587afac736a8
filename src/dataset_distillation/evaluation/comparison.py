"""The table of all methods; the same held-out networks, drawn once, judge every row."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas
from torch import Tensor

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import FileError
from dataset_distillation.evaluation.baselines import BASELINES, BaselineContext
from dataset_distillation.evaluation.explain import Variant
from dataset_distillation.evaluation.held_out import HeldOutResult, held_out
from dataset_distillation.evaluation.options import Evaluation, Statistics, Training
from dataset_distillation.evaluation.real_sets import Size
from dataset_distillation.evaluation.statistics import Difference, difference, plain, spread
from dataset_distillation.files import write
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.objectives import Metric
from dataset_distillation.problem import Problem
from dataset_distillation.run.folder import CONFUSION, EVALUATION
from dataset_distillation.run.records import Confusion, EvaluationRow, read, save
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

    folder: if it is set, `evaluation.csv` and `confusion.json` are written there before each method that is
        run, and at the end.
    resumed: methods that these files already have are not run again.
    how: how networks are trained on the distilled `sets`, as in `held_out`; if it is ordinary training, also
        on the sets of the baselines.
    variants: the distilled data with one factor changed, each a row behind theirs.
    """
    table = _Table(folder, resumed)
    test, batch_norm = problem.data.test, evaluation.batch_norm
    table.add("before_training", lambda: held_out(problem, test, networks, batch_norm=batch_norm))
    if sets:
        table.add("distilled", lambda: _one_set(held_out(problem, test, networks, sets, batch_norm, how)))
    for variant in variants:
        table.add(variant.name, partial(_varied, variant, problem, networks, batch_norm))
    if sets:  # what the networks of the table were trained for, if it is not what the data were made for
        size = size._replace(epochs=math.ceil(len(sets[0]) / size.steps))
    context = BaselineContext(problem, evaluation, networks, size, learning_rates, how or Training())
    for method in evaluation.baselines:
        table.add(method, partial(_baseline, method, context))
    return table.written()


def _varied(
    variant: Variant, problem: Problem, networks: Sequence[Weights], batch_norm: Statistics
) -> HeldOutResult:
    log.info("%s", variant.name.replace("_", " "))
    other = variant.problem or problem
    judges = other.population("held-out", len(networks)) if variant.problem else networks
    runs, _ = held_out(other, variant.test, judges, variant.sets, batch_norm, variant.how)
    if variant.problem:  # these are other networks than the table's, and have numbers behind those
        runs = runs.assign(network=runs["network"] + len(networks))
    return _one_set(HeldOutResult(runs, None))


def _baseline(method: str, context: BaselineContext) -> HeldOutResult:
    log.info("baseline: %s", method.replace("_", " "))
    return HeldOutResult(BASELINES[method](context), None)


def _one_set(result: HeldOutResult) -> HeldOutResult:
    """Different orders of the same images count as one set."""
    return HeldOutResult(result.runs.assign(set=0), result.confusion)


class _Table:
    """The methods that are finished, in order; `resumed`: those that `folder` has need not be run again."""

    def __init__(self, folder: Path | None, resumed: bool) -> None:
        self.folder = folder
        self.finished: dict[str, HeldOutResult] = {}
        self.earlier = _earlier(folder) if folder and resumed else {}

    def add(self, method: str, measure: Callable[[], HeldOutResult]) -> None:
        """Add the runs of a method: the earlier ones, else those that `measure` returns."""
        if method in self.earlier:
            self.finished[method] = self.earlier.pop(method)
            return
        if there := self.finished | self.earlier:
            self._write(there)
        began = time.perf_counter()
        runs, confusion = measure()
        self.finished[method] = HeldOutResult(_named(method, runs, began), confusion)

    def written(self) -> Comparison:
        """Return the table; it is written, too, without what only an earlier attempt was asked for."""
        return self._write(self.finished)

    def _write(self, methods: Mapping[str, HeldOutResult]) -> Comparison:
        runs = pandas.concat([rows.runs for rows in methods.values()], ignore_index=True)
        confusion = {name: rows.confusion for name, rows in methods.items() if rows.confusion is not None}
        if self.folder:  # the matrices first, so that a row is never without its matrix
            save(Confusion(confusion), self.folder / CONFUSION)
            write(self.folder / EVALUATION, runs.to_csv(index=False).encode())
        return Comparison(runs, confusion)


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


def _earlier(folder: Path) -> dict[str, HeldOutResult]:
    try:
        runs, confusion = read_evaluation(folder / EVALUATION), read(Confusion, folder / CONFUSION)
    except FileError as error:
        log.warning("%s; all methods are run again", error)
        return {}
    if runs is None or confusion is None:
        return {}
    return {
        str(method): HeldOutResult(own, confusion.root.get(str(method)))
        for method, own in runs.groupby("method", sort=False)
    }


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
