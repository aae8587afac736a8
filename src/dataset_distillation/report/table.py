"""The tables of a run and of a sweep, in the terminal and as CSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
from rich.console import Console
from rich.table import Table

from dataset_distillation.files import write


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
    rendered = Table(title=title)
    for column in table.columns:
        rendered.add_column(str(column), justify="right" if table[column].dtype.kind in "fi" else "left")
    for row in table.itertuples(index=False):
        rendered.add_row(*(_text(value) for value in row))
    Console().print(rendered)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if pandas.isna(value) else f"{100 * value:.2f} %"
    return str(value)


def sweep(folder: Path) -> pandas.DataFrame:
    """One row a job of the multirun in `folder`, in the order of the jobs; also written as `sweep.csv`."""
    rows = []
    jobs = (path for path in folder.iterdir() if path.name.isdigit())
    for job in sorted(jobs, key=lambda path: int(path.name)):
        path = job / "result.json"
        result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"status": "missing"}
        ours: dict[str, Any] = next(
            (row for row in result.get("evaluation", []) if row["method"] == "distilled"), {}
        )
        rows.append(
            {
                "job": job.name,
                "overrides": " ".join(result.get("overrides", [])),
                "status": result["status"],
                "validation": result.get("validation_accuracy"),
                "mean": ours.get("mean"),
                "std": ours.get("std"),
                "error": result.get("error", ""),
            }
        )
    table = pandas.DataFrame(rows)
    write(folder / "sweep.csv", table.to_csv(index=False).encode())
    return table


def from_result(result: dict[str, Any]) -> pandas.DataFrame:
    """The evaluation table of a `result.json`."""
    return pandas.DataFrame(result["evaluation"])
