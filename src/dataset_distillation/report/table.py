"""The tables of a run and of a sweep, in the terminal and as CSV."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dataset_distillation.files import write
from dataset_distillation.objectives import shown
from dataset_distillation.report.numbers import number
from dataset_distillation.sweep.jobs import OPEN, Job, jobs_of
from dataset_distillation.sweep.overrides import asked, differing

SPREAD = ("mean", "std")  # of the other metrics that the objective has
_METRICS = ("mean", "std", "min", "max", "validation")


def show(title: str, table: pandas.DataFrame, metric: str = "") -> None:
    """Print a table of `metric`, or of the metric that each row names; shares in percent."""
    rendered = Table(title=escape(title))
    for column in table.columns:
        numeric = table[column].dtype.kind in "fi"
        rendered.add_column(str(column), justify="right" if numeric else "left", overflow="fold")
    for row in table.to_dict("records"):
        shown = metric or row["metric"]
        rendered.add_row(*(_text(str(column), value, shown) for column, value in row.items()))
    # A log file has no width of its own; 80 columns would cut the rows of a sweep.
    Console(width=None if sys.stdout.isatty() else 160).print(rendered)


def show_sweep(folder: Path) -> bool:
    """Print the table of a multirun, and below it each error; whether all of its jobs are finished."""
    jobs = sweep(folder)
    show(str(folder), jobs.drop(columns=["min", "max", "error"]))
    for job, error in jobs.loc[jobs["error"] != "", ["job", "error"]].itertuples(index=False):
        print(f"job {job}: {error}")
    return bool((jobs["status"] == "finished").all())


def show_status(folder: Path) -> bool:
    """Print how far the jobs of a multirun are; whether any is still to come or going on."""
    told = jobs_of(folder)
    rows = [
        {
            "job": job.number,
            **asked,
            "state": job.state,
            "progress": f"{job.progress.step} / {job.progress.steps}" if job.progress.steps else "",
            "metric": job.progress.metric,
            "validation": job.progress.validation,
            "left": "" if (left := job.seconds_left) is None else str(timedelta(seconds=round(left))),
            "log": f"{job.number}/distill.log" if (job.folder / "distill.log").exists() else "",
        }
        for job, asked in zip(told, _swept(told), strict=True)
    ]
    show(str(folder), pandas.DataFrame(rows))
    return any(job.state in OPEN for job in told)


def _text(column: str, value: Any, metric: str) -> str:
    if pandas.isna(value):
        return ""
    if isinstance(value, str) or column.rpartition(" ")[2] not in _METRICS:
        return escape(str(value))
    return number(value, metric)


def sweep(folder: Path) -> pandas.DataFrame:
    """One row a job of the multirun in `folder`.

    There is a column for each key in which the jobs differ, and one for each baseline. Written beside the
    jobs as `sweep.csv` and `sweep.md` too, whatever became of them.
    """
    jobs = jobs_of(folder)
    rows = []
    for job, overrides in zip(jobs, _swept(jobs), strict=True):
        methods = {row["method"]: row for row in job.result.get("evaluation", [])}
        ours = methods.get("distilled", {})
        rivals = [row for name, row in methods.items() if name not in ("distilled", "before_training")]
        found = ours.get("metrics", {})
        others = shown(job.progress.metric, found)[1:]
        rows.append(
            {
                "job": job.number,
                **overrides,
                "status": job.state,
                "metric": job.progress.metric,
                "validation": job.progress.validation,
                **{column: ours.get(column) for column in ("mean", "std", "min", "max")},
                **{f"{name.replace('_', ' ')} {key}": found[name][key] for name in others for key in SPREAD},
                **{f"{row['method'].replace('_', ' ')} mean": row["mean"] for row in rivals},
                **({"selection": str(job.result.get("selection", ""))} if rivals else {}),
                "seconds": job.result.get("provenance", {}).get("seconds"),
                "error": job.result.get("error", ""),
            }
        )
    table = pandas.DataFrame(rows)
    write(folder / "sweep.csv", table.to_csv(index=False).encode())
    write(folder / "sweep.md", markdown(table).encode())
    return table


def _swept(jobs: list[Job]) -> list[dict[str, str]]:
    """What each job was asked for, of the keys in which they differ."""
    given = [asked(job.overrides) for job in jobs]
    return [{key: overrides.get(key, "") for key in differing(given)} for overrides in given]


def markdown(table: pandas.DataFrame) -> str:
    """The table as GitHub shows it; shares in percent."""
    rows = [[_text(str(c), row[c], row["metric"]) for c in table] for row in table.to_dict("records")]
    lines = [[str(column) for column in table], ["---"] * len(table.columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)
