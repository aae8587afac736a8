"""The paper's tables and figures: its numbers beside ours, which are empty until the runs are done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from omegaconf import OmegaConf

from dataset_distillation.files import write
from dataset_distillation.report import drawing, figures
from dataset_distillation.report.methods import protocol
from dataset_distillation.report.runs import RecordedRun

PUBLISHED = "paper.yaml"

#: Options that a run may change and still count as the experiment in conf/: where it runs, who judges.
GROUPS = ("experiment", "seed", "evaluation", "trainer", "logger")
PLACES = ("root", "download", "cache", "folder", "workers", "held_out")

#: An x that is not a config key: images per class, in all steps together.
IMAGES = "images_per_class"


class Number(NamedTuple):
    """A mean and its standard deviation, in percent."""

    mean: float
    std: float | None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.std is None else f" ± {self.std:.1f}")


def published() -> Any:
    text = (files("dataset_distillation.report") / PUBLISHED).read_text(encoding="utf-8")
    content: Any = OmegaConf.to_container(OmegaConf.create(text))
    return content


def write_all(runs: Iterable[RecordedRun], output: Path) -> list[Path]:
    """Write `paper.md` and one picture per table and figure to `output`; return the files.

    If several runs belong to one experiment, the latest counts.
    """
    finished = [run for run in runs if run.result.evaluation]
    finished.sort(key=lambda run: run.result.provenance.started)
    text, written = ["# The paper's tables and figures\n"], []
    content = published()
    for table in content["tables"]:
        text += [*_heading(table), *_table(table, finished), *_used(_of_table(table, finished), output)]
        written.append(_picture(output, table, figures.compared(_dots(table, finished), drawing.PRINT)))
    for figure in content["figures"]:
        text += [*_heading(figure), *_points(figure, finished), *_used(_of_figure(figure, finished), output)]
        panels = [(panel["title"], _axis(panel["x"]), _lines(panel, finished)) for panel in figure["panels"]]
        written.append(_picture(output, figure, figures.panels(panels, drawing.PRINT)))
    write(output / "paper.md", "\n".join(text).encode())
    return [output / "paper.md", *written]


def _picture(output: Path, entry: dict[str, Any], drawn: Figure) -> Path:
    path = output / f"{entry['name']}.png"
    write(path, drawing.png(drawn))
    return path


def _heading(entry: dict[str, Any]) -> list[str]:
    return [f"## {entry['title']}\n", f"{entry['source']}; in percent.\n", f"![]({entry['name']}.png)\n"]


def _latest(runs: Sequence[RecordedRun], experiment: str | None) -> RecordedRun | None:
    matching = [run for run in runs if experiment and _is(run, experiment)]
    return matching[-1] if matching else None


def _is(run: RecordedRun, experiment: str, where: Mapping[str, Any] = {}, free: Iterable[str] = ()) -> bool:
    """Whether `run` is of `experiment`, except for the values in `where` and the keys in `free`."""
    if run.judges or run.result.value("experiment") != experiment:
        return False
    names = {key: key.split(".") for key in run.overrides}
    changed = {key for key, name in names.items() if name[0] not in GROUPS and name[-1] not in PLACES}
    return changed <= {*where, *free} and all(run.result.value(key) == value for key, value in where.items())


def _cell(column: dict[str, Any], row: dict[str, Any], runs: Sequence[RecordedRun]) -> Number | None:
    run = _latest(runs, row["runs"].get(column.get("run")))
    return None if run is None else measured(run, column["method"])


def measured(run: RecordedRun, method: str, metric: str = "accuracy") -> Number | None:
    """Return the mean and standard deviation of a method of a run over its held-out networks."""
    row = run.result.rows.get(method)
    values = row and (row.metrics.get(metric) or (row if metric == "accuracy" else None))
    if not row or not values or values.mean is None:
        return None
    return Number(100 * values.mean, 100 * values.std if row.runs > 1 and values.std is not None else None)


def number(printed: str | None) -> Number | None:
    """Return `79.5 ± 8.1` as numbers."""
    if printed is None:
        return None
    mean, _, std = printed.partition(" ± ")
    return Number(float(mean), float(std) if std else None)


def _table(table: dict[str, Any], runs: Sequence[RecordedRun]) -> list[str]:
    columns = table["columns"]
    lines = [["", *(column["title"] for column in columns)], ["---"] * (len(columns) + 1)]
    for row in table["rows"]:
        lines.append([f"{row['title']}, paper", *row["paper"]])
        cells = [_cell(column, row, runs) for column in columns]
        lines.append([f"{row['title']}, ours", *map(_bold, cells)])
    return [*map(_line, lines), ""]


def _bold(cell: Number | None) -> str:
    return "" if cell is None else f"**{cell}**"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _dots(table: dict[str, Any], runs: Sequence[RecordedRun]) -> list[tuple[str, list[figures.Pair]]]:
    return [
        (
            row["title"],
            [
                figures.Pair(column["title"], number(printed), _cell(column, row, runs))
                for column, printed in zip(table["columns"], row["paper"], strict=True)
            ],
        )
        for row in table["rows"]
    ]


def _of_table(table: dict[str, Any], runs: Sequence[RecordedRun]) -> list[RecordedRun]:
    latest = [_latest(runs, experiment) for row in table["rows"] for experiment in row["runs"].values()]
    return [run for run in latest if run is not None]


def _x(run: RecordedRun, key: str) -> Any:
    if key == IMAGES:
        return run.result.value("distilled.steps") * run.result.value("distilled.images_per_class")
    return run.result.value(key)


def _axis(key: str) -> str:
    return key.rpartition(".")[2].replace("_", " ")


def _runs_of(line: dict[str, Any], runs: Sequence[RecordedRun], x: str) -> dict[Any, RecordedRun]:
    """Return the latest run at each x of the paper's line."""
    free = ("distilled.steps", "distilled.images_per_class") if x == IMAGES else (x,)
    latest = {
        _x(run, x): run
        for run in runs
        if any(_is(run, experiment, line.get("where", {}), free) for experiment in line["experiments"])
    }
    return {value: latest[value] for value in line["paper"] if value in latest}


def _point(run: RecordedRun | None, line: dict[str, Any]) -> Number | None:
    return None if run is None else measured(run, line["method"], line["metric"])


def _points(figure: dict[str, Any], runs: Sequence[RecordedRun]) -> list[str]:
    text = []
    for panel in figure["panels"]:
        values = list(panel["lines"][0]["paper"])
        lines = [[f"{panel['title']}: {_axis(panel['x'])}", *map(str, values)], ["---"] * (len(values) + 1)]
        for line in panel["lines"]:
            lines.append([f"{line['name']}, paper", *line["paper"].values()])
            own = _runs_of(line, runs, panel["x"])
            cells = [
                measured(own[value], line["method"], line["metric"]) if value in own else None
                for value in values
            ]
            lines.append(
                [f"{line['name']}, ours", *("" if cell is None else f"**{cell}**" for cell in cells)]
            )
        text += [*map(_line, lines), ""]
    return text


def _lines(panel: dict[str, Any], runs: Sequence[RecordedRun]) -> list[drawing.Series]:
    """Our lines, and the paper's, which are dashed."""
    lines = []
    for line in panel["lines"]:
        own = _runs_of(line, runs, panel["x"])
        points = {x: _point(run, line) for x, run in own.items()}
        paper = {x: number(printed) for x, printed in line["paper"].items()}
        for numbers, dashed in ((points, False), (paper, True)):
            present = {x: point for x, point in numbers.items() if point is not None}
            means = [point.mean for point in present.values()]
            stds = [point.std for point in present.values()]
            lines.append(drawing.Series(line["name"], list(present), means, stds, dashed))
    return lines


def _of_figure(figure: dict[str, Any], runs: Sequence[RecordedRun]) -> list[RecordedRun]:
    used = [
        run
        for panel in figure["panels"]
        for line in panel["lines"]
        for run in _runs_of(line, runs, panel["x"]).values()
    ]
    return list({run.path: run for run in used}.values())


def _used(runs: Sequence[RecordedRun], output: Path) -> list[str]:
    """List the runs that our numbers come from."""
    lines = []
    for run in runs:
        where = os.path.relpath(run.path, output)
        row = run.result.rows.get("distilled")
        networks = row.networks if row else 0
        judges = f"{networks} held-out networks" if networks else ""
        about = [f"`{run.command}`", judges, protocol(run.result)]
        lines.append(f"- [{where}]({where}): " + "; ".join(filter(None, about)))
    return [*lines, ""] if lines else ["There is no run of ours yet.\n"]
