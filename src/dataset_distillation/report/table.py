"""Tables for the terminal and as CSV: of a run, and of a sweep with one row per job."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dataset_distillation.errors import printable
from dataset_distillation.files import write
from dataset_distillation.objectives import Metric
from dataset_distillation.report.markdown import markdown
from dataset_distillation.report.names import beside, is_baseline
from dataset_distillation.report.numbers import number
from dataset_distillation.run.folder import LOG, TABLE_CSV, TABLE_MARKDOWN
from dataset_distillation.sweep.jobs import OPEN, Job, jobs_of, to_finish
from dataset_distillation.sweep.overrides import by_key, differing


class Cell(NamedTuple):
    """A value, and its metric, if it has one."""

    value: Any
    metric: Metric | None = None

    def __str__(self) -> str:
        if self.value is None:
            return ""
        return number(self.value, self.metric) if self.metric else str(self.value)


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print a table; columns whose values begin like numbers are aligned to the right."""
    cells = [
        {printable(key): "" if value is None else printable(str(value)) for key, value in row.items()}
        for row in rows
    ]
    texts = pandas.DataFrame(cells).fillna("")
    rendered = Table(title=escape(printable(title)))
    for column in texts:
        numbers = all(re.match(r"[-+]?\d[^/]*$|$", text) for text in texts[column])
        rendered.add_column(str(column), justify="right" if numbers else "left", overflow="fold")
    for row in texts.itertuples(index=False):
        rendered.add_row(*map(escape, row))
    # A log file has no width, and the default of 80 columns would cut the rows of a sweep.
    Console(width=None if sys.stdout.isatty() else 160).print(rendered)


def show_sweep(folder: Path) -> bool:
    """Print the table of a multirun and its errors; return whether all of its jobs are finished."""
    jobs = jobs_of(folder)
    rows = _rows(jobs)
    _write(rows, folder)
    hidden = ("min", "max", "error")
    show(str(folder), [{key: row[key] for key in row if key not in hidden} for row in rows])
    for job in jobs:
        if job.result.error:
            print(f"job {job.number}: {printable(job.result.error)}")
    return all(job.state == "finished" for job in jobs)


def show_status(folder: Path) -> bool:
    """Print how far the jobs of a multirun are; return whether any is waiting or running."""
    jobs = jobs_of(folder)
    rows = [
        {
            "job": job.number,
            **overrides,
            "state": job.state,
            "progress": f"{job.progress.step} / {job.progress.steps}" if job.progress.steps else "",
            "metric": job.progress.metric.name,
            "validation": number(job.progress.validation, job.progress.metric),
            "left": "" if (left := job.seconds_left) is None else str(timedelta(seconds=round(left))),
            "log": f"{job.number}/{LOG}" if (job.folder / LOG).exists() else "",
        }
        for job, overrides in zip(jobs, _swept(jobs), strict=True)
    ]
    show(str(folder), rows)
    goes_on = any(job.state in OPEN for job in jobs)
    if not goes_on and any(job.state != "finished" for job in jobs) and (command := to_finish(folder)):
        print(f"to finish it: {printable(command)}")
    return goes_on


def sweep(folder: Path) -> pandas.DataFrame:
    """Return one row per job of the multirun in `folder`.

    There is one column for each key in which the jobs differ, and one for each baseline. The table is also
    written beside the jobs as `sweep.csv` and `sweep.md`, whether or not they have succeeded.
    """
    return _write(_rows(jobs_of(folder)), folder)


def _rows(jobs: Sequence[Job]) -> list[dict[str, Cell]]:
    return [_row(job, overrides) for job, overrides in zip(jobs, _swept(jobs), strict=True)]


def _row(job: Job, overrides: Mapping[str, str]) -> dict[str, Cell]:
    result, metric = job.result, job.progress.metric
    distilled = result.rows.get("distilled")
    others = [result.rows[method] for method in beside(result.rows)]
    cells = {
        "job": Cell(job.number),
        **{key: Cell(value) for key, value in overrides.items()},
        "status": Cell(job.state),
        "metric": Cell(metric.name),
        "validation": Cell(job.progress.validation, metric),
    }
    for column in ("mean", "std", "min", "max"):
        cells[column] = Cell(getattr(distilled, column) if distilled else None, metric)
    for further in result.metrics[1:]:
        spread = distilled.metrics.get(further.name) if distilled else None
        for column in ("mean", "std") if spread else ():
            cells[f"{further.label} {column}"] = Cell(getattr(spread, column), further)
    for row in others:
        cells[f"{row.method.replace('_', ' ')} mean"] = Cell(row.mean, metric)
    if any(is_baseline(row.method) for row in others):
        cells["selection"] = Cell(result.selection)
    return {**cells, "seconds": Cell(result.provenance.seconds), "error": Cell(result.error)}


def _write(rows: Sequence[Mapping[str, Cell]], folder: Path) -> pandas.DataFrame:
    table = pandas.DataFrame([{key: cell.value for key, cell in row.items()} for row in rows])
    write(folder / TABLE_CSV, table.to_csv(index=False).encode())
    texts = [[str(row.get(column, "")) for column in table] for row in rows]
    write(folder / TABLE_MARKDOWN, "".join(f"{line}\n" for line in markdown(list(table), texts)).encode())
    return table


def _swept(jobs: Sequence[Job]) -> list[dict[str, str]]:
    """Return the overrides of each job whose keys differ between the jobs."""
    all_overrides = [by_key(job.overrides) for job in jobs]
    keys = differing(all_overrides)
    return [{key: overrides.get(key, "") for key in keys} for overrides in all_overrides]
