"""The curves of a run: `history.csv`, which is written with any logger."""

from __future__ import annotations

import csv
import io
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pandas
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from dataset_distillation.errors import NoFile
from dataset_distillation.files import read, write
from dataset_distillation.run.folder import HISTORY
from dataset_distillation.run.tables import LARGEST, read_table

NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|nan|-?inf"  # as Python writes it


class History(Logger):
    """One row per logged step in `folder/history.csv`: the step and the values logged at it.

    A run that resumes after outer step `done` keeps the rows of the steps before.
    """

    name = "history"
    version = ""

    def __init__(self, folder: Path, done: int = 0) -> None:
        super().__init__()
        self.path = folder / HISTORY
        self.rows = _before(self.path, done) if done else []
        self.columns = dict.fromkeys(name for row in self.rows for name in row)  # in order of appearance
        self.known = 0  # number of columns in the file
        self.written, self.end = 0, 0  # number of final rows in the file, and the byte after them

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Do nothing: the run folder has the config in `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # Lightning logs the training and the validation of one step in two calls.
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1].update({name: value for name, value in metrics.items() if name != "epoch"})
        self.columns |= dict.fromkeys(self.rows[-1])

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that are new: Lightning calls this at each logged step."""
        if not self.rows:
            return
        if len(self.columns) > self.known:  # new columns (first row, first validation): rewrite the file
            header = (",".join(self.columns) + "\n").encode()
            write(self.path, header + self._lines(self.rows))
            self.known, self.written, self.end = len(self.columns), 0, len(header)
        final, last = self._lines(self.rows[self.written : -1]), self._lines(self.rows[-1:])
        with open(self.path, "r+b") as file:
            file.seek(self.end)
            file.write(final + last)
            file.truncate()
        self.written, self.end = len(self.rows) - 1, self.end + len(final)

    def _lines(self, rows: list[dict[str, Any]]) -> bytes:
        text = io.StringIO()
        csv.DictWriter(text, list(self.columns), lineterminator="\n").writerows(rows)
        return text.getvalue().encode()


def _before(path: Path, done: int) -> list[dict[str, Any]]:
    """Return the rows of the first `done` steps (`step` counts from 0) that a power loss has not damaged."""
    try:
        header, *lines, _ = read(path, LARGEST).decode(errors="replace").split("\n")
    except (NoFile, ValueError):  # ValueError: not one whole line
        return []
    rows = [row for line in lines if (row := _row(header.split(","), line.split(",")))]
    return [row for row in rows if row["step"] < done]


def _row(names: list[str], fields: list[str]) -> dict[str, Any] | None:
    """Return a row as it was logged, or None if a field is not a number."""
    values = {name: field for name, field in zip(names, fields, strict=False) if field}
    if len(fields) > len(names) or not re.fullmatch("[0-9]{1,15}", values.get("step", "")):
        return None
    if not all(re.fullmatch(NUMBER, field) for field in values.values()):
        return None
    return values | {"step": int(values["step"])}


def read_history(path: Path) -> pandas.DataFrame | None:
    """Return the curves in `path`, or None if there are none yet. Raises FileError if they are damaged."""
    return read_table(path, "the curves of a run", _curves)


def _curves(table: pandas.DataFrame) -> pandas.DataFrame:
    if "step" not in table:
        raise ValueError("no column step")
    table = table.astype(float)
    if not table["step"].between(0, 2**53).all():
        raise ValueError("a step is not a number from 0 on")
    return table.astype({"step": int})
