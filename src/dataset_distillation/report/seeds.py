"""Which runs are of an experiment, and what they have measured over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from dataset_distillation.report.names import is_baseline
from dataset_distillation.report.runs import RecordedRun

#: Options that a run may change and still count as the experiment in conf/: where it runs, who judges.
GROUPS = ("experiment", "seed", "evaluation", "baselines", "trainer", "logger")
PLACES = ("root", "download", "cache", "folder", "workers", "held_out")
#: Those that change the speed and the rounding.
SPEED = (
    "unroll.compile", "unroll.stored", "unroll.offload", "unroll.batch_networks", "init.pretraining.compile",
)  # fmt: skip


class Number(NamedTuple):
    """A result in percent.

    mean: over the seeds, of the mean over each one's held-out networks.
    std: between the networks of one seed, pooled over the seeds; None if there is one network.
    between: between the means of the seeds; None if there is one seed.
    """

    mean: float
    std: float | None = None
    between: float | None = None
    seeds: int = 1

    def __str__(self) -> str:
        return self.text(1)

    def text(self, digits: int) -> str:
        """Return `84.1 ± 3.3 (3 seeds: ± 0.4)`, as far as there are several networks and several seeds."""
        spread = "" if self.std is None else f" ± {self.std:.{digits}f}"
        seeds = "" if self.between is None else f" ({self.seeds} seeds: ± {self.between:.{digits}f})"
        return f"{self.mean:.{digits}f}{spread}{seeds}"


def shown(number: Number | None, digits: int = 1) -> str:
    """Return the text of a number, and nothing where there is none."""
    return "" if number is None else number.text(digits)


def is_free(key: str) -> bool:
    """Whether a run may change this option and still be of its experiment."""
    name = key.split(".")
    return name[0] in GROUPS or name[-1] in PLACES or key in SPEED


def changed(run: RecordedRun) -> set[str]:
    """Return the keys of the overrides that make a run something else than its experiment, or its set.

    A budget of minutes does so only if it ended the run before its last outer step.
    """
    whole = run.result.outer_steps == run.result.value("outer.steps")
    free = {"artifact", *(("outer.minutes",) if whole else ())}
    return {key for key in run.overrides if not is_free(key) and key not in free}


def is_of(run: RecordedRun, experiment: str, where: Mapping[str, Any] = {}, free: Iterable[str] = ()) -> bool:
    """Whether `run` is of `experiment`, except for the values in `where` and the keys in `free`."""
    if run.judges or run.result.value("experiment") != experiment:
        return False
    as_asked = all(run.result.value(key) == value for key, value in where.items())
    return as_asked and changed(run) <= {*where, *free}


def latest(runs: Iterable[RecordedRun]) -> list[RecordedRun]:
    """Return the last run of each seed, in the order of the seeds, from runs in the order of their start."""
    of_seed = {run.result.value("seed") or 0: run for run in runs}
    return [of_seed[seed] for seed in sorted(of_seed)]


def of(runs: Iterable[RecordedRun], experiment: str) -> list[RecordedRun]:
    """Return the last run of each seed of `experiment` as it stands in conf/."""
    return latest(run for run in runs if is_of(run, experiment))


def judging(runs: Iterable[RecordedRun], experiment: str, free: Iterable[str] = ()) -> list[RecordedRun]:
    """Return the last run for each seed of the experiment that judges its published set.

    free: the keys that such a run may change.
    """
    last: dict[str, RecordedRun] = {}
    for run in runs:
        of_set, _, seed = run.judged_set.rpartition("/")
        if of_set == experiment and changed(run) <= {*free}:
            last[seed] = run
    return [last[seed] for seed in sorted(last, key=lambda name: (len(name), name))]


def measured(runs: Sequence[RecordedRun], method: str, metric: str = "accuracy") -> Number | None:
    """Return the result of a method in the runs of an experiment, one for each seed, that have the method.

    The settings of a baseline were chosen in one way; runs that chose otherwise than the last are left out.
    """
    having = [run for run in runs if method in run.result.rows]
    if is_baseline(method):
        having = [run for run in having if run.result.selection == having[-1].result.selection]
    rows = [run.result.rows[method] for run in having]
    spreads = [row.metrics.get(metric) or (row if metric == "accuracy" else None) for row in rows]
    means = [100 * spread.mean for spread in spreads if spread and spread.mean is not None]
    if not means:
        return None
    stds = [
        100 * spread.std
        for row, spread in zip(rows, spreads, strict=True)
        if row.runs > 1 and spread and spread.std is not None
    ]
    within = math.sqrt(fmean(std**2 for std in stds)) if stds else None
    return Number(fmean(means), within, stdev(means) if len(means) > 1 else None, len(means))
