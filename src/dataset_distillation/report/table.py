"""The tables of a run and of a sweep, in the terminal and as CSV."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dataset_distillation.files import write

_SHARES = ("mean", "std", "min", "max", "validation")


def summary(methods: dict[str, pandas.DataFrame]) -> pandas.DataFrame:
    """One row a method: mean, standard deviation over runs, minimum and maximum of the test accuracy."""
    rows = []
    for method, results in methods.items():
        accuracy = results["accuracy"]
        rows.append(
            {
                "method": method.replace("_", " "),
                "mean": float(accuracy.mean()),
                "std": float(accuracy.std(ddof=0)),
                "min": float(accuracy.min()),
                "max": float(accuracy.max()),
                "runs": len(accuracy),
            }
        )
    return pandas.DataFrame(rows)


def show(title: str, table: pandas.DataFrame) -> None:
    """Print a table; accuracies in percent."""
    rendered = Table(title=escape(title))
    for column in table.columns:
        numeric = table[column].dtype.kind in "fi"
        rendered.add_column(str(column), justify="right" if numeric else "left", no_wrap=True)
    for row in table.to_dict("records"):
        rendered.add_row(*(_text(str(column), value) for column, value in row.items()))
    # A log file has no width of its own; 80 columns would cut the rows of a sweep.
    Console(width=None if sys.stdout.isatty() else 140).print(rendered)


def show_sweep(folder: Path) -> None:
    """Print the table of a multirun, and below it the error of each job that failed."""
    jobs = sweep(folder)
    show(str(folder), jobs.drop(columns=["min", "max", "error"]))
    for job, error in jobs.loc[jobs["error"] != "", ["job", "error"]].itertuples(index=False):
        print(f"job {job}: {error}")


def _text(column: str, value: Any) -> str:
    if pandas.isna(value):
        return ""
    return f"{100 * value:.2f} %" if column in _SHARES else escape(str(value))


def sweep(folder: Path) -> pandas.DataFrame:
    """One row a job of the multirun in `folder`, with a column for each key in which the jobs differ.

    Jobs without a result have the status `missing`. Written beside the jobs as `sweep.csv` too.
    """
    jobs = sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    results = [_result(job) for job in jobs]
    asked = [dict(override.split("=", 1) for override in result.get("overrides", [])) for result in results]
    keys = list(dict.fromkeys(key for overrides in asked for key in overrides))
    swept = [key for key in keys if len({overrides.get(key) for overrides in asked if overrides}) > 1]
    rows = []
    for job, result, overrides in zip(jobs, results, asked, strict=True):
        ours: dict[str, Any] = next(
            (r for r in result.get("evaluation", []) if r["method"] == "distilled"), {}
        )
        rows.append(
            {
                "job": int(job.name),
                **{key: overrides.get(key, "") for key in swept},
                "status": result["status"],
                "validation": result.get("validation_accuracy"),
                **{column: ours.get(column) for column in ("mean", "std", "min", "max")},
                "seconds": result.get("provenance", {}).get("seconds"),
                "error": result.get("error", ""),
            }
        )
    table = pandas.DataFrame(rows)
    write(folder / "sweep.csv", table.to_csv(index=False).encode())
    return table


def _result(job: Path) -> dict[str, Any]:
    path = job / "result.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"status": "missing"}
    return result


def from_result(result: dict[str, Any]) -> pandas.DataFrame:
    """The evaluation table of a `result.json`."""
    return pandas.DataFrame(result["evaluation"])
