"""`report.html` of a multirun: what its jobs have in common, a row for each, and charts over what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_distillation.objectives import Metric
from dataset_distillation.report import charts, drawing
from dataset_distillation.report.methods import protocol
from dataset_distillation.report.names import beside, is_baseline, readable
from dataset_distillation.report.page import longest, render, safe
from dataset_distillation.report.runs import COUNTS, RecordedRun, jobs
from dataset_distillation.run.folder import PAGE, SWEEP
from dataset_distillation.run.records import EvaluationRow, Sweep, read
from dataset_distillation.sweep.overrides import differing

#: The groups that the title names, as far as all jobs agree.
NAMED = ("experiment", "dataset", "architecture", "init", "objective")
#: What the charts are drawn against, and the keys that change it.
STEPS = ("distilled.inner_steps", "distilled.steps", "distilled.epochs", "training.epochs")


def write_sweep(folder: Path) -> Path:
    """Write the page of the multirun in `folder`, with one row per job; return its path."""
    runs = jobs(folder)
    keys = differing([run.overrides for run in runs])
    record = read(Sweep, folder / SWEEP)
    methods = beside(method for run in runs for method in run.result.rows)
    context = {
        "runs": runs,
        "keys": keys,
        "common": common(runs),
        "command": record.command if record else "",
        "charts": safe(folder / SWEEP, lambda: [*_against(runs, keys), *_heat(runs, keys)]),
        "methods": methods,
        "baselines": any(map(is_baseline, methods)),
        "protocols": list(dict.fromkeys(filter(None, (protocol(run.result) for run in runs)))),
        "others": list(dict.fromkeys(metric for run in runs for metric in run.result.metrics[1:])),
        "page": PAGE,
        "longest": longest(runs),
    }
    return render("sweep.html", folder, context)


def common(runs: Sequence[RecordedRun]) -> list[str]:
    """Return the experiment, dataset, ... that all jobs with a result have in common."""
    chosen = [run.result.choices for run in runs if run.result.choices]
    same = {group: {choices.get(group) for choices in chosen} for group in NAMED}
    return [value for values in same.values() if len(values) == 1 and (value := next(iter(values)))]


def _combination(run: RecordedRun, keys: Sequence[str]) -> str:
    """Return `architecture=mlp, epochs=3`: the values of a job at `keys`."""
    return ", ".join(f"{key.removeprefix('distilled.')}={run.overrides.get(key, '')}" for key in keys)


def _against(runs: list[RecordedRun], keys: list[str]) -> list[str]:
    """Draw the test metric against the number of images and of steps, if jobs differ in it (Figs 4 and 5)."""
    counts: list[tuple[str, Callable[[RecordedRun], int | None], tuple[str, ...]]] = [
        ("distilled images", images_of, COUNTS),
        ("inner steps", lambda run: run.inner_steps, STEPS),
    ]
    drawn = []
    for title, count, parts in counts:
        others = [key for key in keys if key not in ("seed", next((c for c in parts if c in keys), None))]
        counted = [(x, run) for run in _measured(runs) if (x := count(run)) is not None]
        for metric in dict.fromkeys(run.result.metric for _, run in counted):
            points = [(x, run) for x, run in counted if run.result.metric == metric]
            if len({x for x, _ in points}) > 1:
                baselines = filter(is_baseline, beside(m for _, run in points for m in run.result.rows))
                methods = ["distilled", *baselines]
                lines = [line for method in methods for line in _lines(points, others, metric, method)]
                drawn.append(charts.against(lines, charts.on_test(metric), title))
    return drawn


def _heat(runs: list[RecordedRun], keys: list[str]) -> list[str]:
    """Draw the metric over images per class and steps, if the jobs are a grid of both.

    There is one drawing for each combination of the other keys.
    """
    others = [key for key in keys if key not in ("seed", *COUNTS)]
    grids: dict[tuple[Metric, str], dict[tuple[Any, Any], list[EvaluationRow]]] = {}
    for run in _measured(runs) if set(COUNTS) <= set(keys) else []:
        at = run.result.value(COUNTS[0]), run.result.value(COUNTS[1])
        cells = grids.setdefault((run.result.metric, _combination(run, others)), {})
        cells.setdefault(at, []).append(run.result.rows["distilled"])
    drawn = []
    for (metric, combination), cells in grids.items():
        values = {at: metric.unit * _pooled(rows)[0] for at, rows in cells.items()}
        title = charts.on_test(metric) + (f", {combination}" if combination else "")
        drawn.append(charts.heat(values, title))
    return drawn


def _measured(runs: Iterable[RecordedRun]) -> list[RecordedRun]:
    """Return the runs that have judged distilled data."""
    return [run for run in runs if (row := run.result.rows.get("distilled")) and row.mean is not None]


def _lines(
    points: list[tuple[int, RecordedRun]], keys: list[str], metric: Metric, method: str
) -> list[drawing.Series]:
    """One line of a method per combination of the values of `keys`, dashed if it is a baseline's.

    Runs with the same x are one point.
    """
    lines: dict[str, dict[int, list[EvaluationRow]]] = {}
    for x, run in points:
        if (row := run.result.rows.get(method)) and row.mean is not None:
            own = _combination(run, keys)
            name = own if method == "distilled" else ", ".join(filter(None, (readable(method), own)))
            lines.setdefault(name, {}).setdefault(x, []).append(row)
    drawn = []
    for name, rows in lines.items():
        means, stds = (metric.unit * np.array([_pooled(rows[x]) for x in sorted(rows)])).T.tolist()
        drawn.append(drawing.Series(name, sorted(rows), means, stds, dashed=method != "distilled"))
    return drawn


def _pooled(rows: Sequence[EvaluationRow]) -> tuple[float, float]:
    """Return the mean and standard deviation of the runs of all `rows` together."""
    runs, means = np.array([row.runs for row in rows]), np.array([row.mean for row in rows], dtype=float)
    mean = np.average(means, weights=runs)
    within = sum((row.runs - 1) * (row.std or 0.0) ** 2 for row in rows)
    squares = within + (runs * (means - mean) ** 2).sum()
    return float(mean), float(np.sqrt(squares / max(1, runs.sum() - 1)))


def images_of(run: RecordedRun) -> int | None:
    """Return the number of distilled images, or None."""
    return None if run.distilled is None else run.distilled.images.shape[:2].numel()
