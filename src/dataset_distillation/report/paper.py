"""The paper's tables and figures: its numbers beside ours, which are empty until the runs are done."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from dataset_distillation.errors import FileError
from dataset_distillation.files import write
from dataset_distillation.report import drawing, factors, figures, later, opening, seeds, transfer
from dataset_distillation.report.markdown import NO_RUN, bold, markdown
from dataset_distillation.report.methods import beaten, protocol
from dataset_distillation.report.runs import COUNTS, RecordedRun
from dataset_distillation.report.seeds import Number, measured
from dataset_distillation.report.summary import summary

log = logging.getLogger(__name__)

PUBLISHED, LATER, FACTORS = "paper.yaml", "later.yaml", "factors.yaml"
LEGEND = (
    "Ours is the mean over the held-out networks ± the standard deviation between them, and for ten real\n"
    "sets between these, too. Of several seeds of the distillation it is the mean, and the standard\n"
    "deviation between their means follows in brackets.\n"
)

GRID = "counts"  # the picture of accuracy over images and steps

#: An x that is not a config key: images per class, in all steps together.
IMAGES = "images_per_class"


def published(name: str = PUBLISHED) -> Any:
    return yaml.safe_load((files("dataset_distillation.report") / name).read_text(encoding="utf-8"))


def write_all(runs: Iterable[RecordedRun], output: Path) -> list[Path]:
    """Write the pages, and one picture per table and figure, to `output`; return the files.

    If several runs belong to one experiment and seed, the latest counts.
    """
    finished = _finished(runs)
    files = {name: page.encode() for name, page in pages(finished, output).items()}
    files |= {f"{name}.png": picture for name, picture in _pictures(finished)}
    for name, content in files.items():
        write(output / name, content)
    return [output / name for name in files]


def _finished(runs: Iterable[RecordedRun]) -> list[RecordedRun]:
    finished = []
    for run in runs:
        try:
            finished += [run] if run.result.evaluation else []
        except FileError as error:
            log.error("%s; it is left out", error)
    return sorted(finished, key=lambda run: run.result.provenance.started)


def pages(runs: Iterable[RecordedRun], output: Path) -> dict[str, str]:
    """Return the pages that `write_all` writes to `output`, by the names of their files."""
    runs = _finished(runs)
    text = ["# The paper's tables and figures\n", LEGEND]
    content, chosen = published(), published(FACTORS)
    for table in content["tables"]:
        text += [*_heading(table), *_table(table, runs), *_used(_of_table(table, runs), output)]
    for figure in content["figures"]:
        text += [*_heading(figure), *_points(figure, runs), *_used(_of_figure(figure, runs), output)]
    if lines := transfer.table(runs):
        text += ["## On other networks\n", f"{transfer.LEGEND}\n", *lines, ""]
    return {
        "opening.md": opening.sentence(runs),
        "summary.md": summary(content["summary"], runs),
        "paper.md": "\n".join(text),
        "later.md": later.page(published(LATER), runs),
        "factors.md": factors.page(chosen, factors.counts(chosen["counts"], runs), runs, f"{GRID}.png"),
    }


def _pictures(runs: Sequence[RecordedRun]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the PNG of each picture."""
    content = published()
    for table in content["tables"]:
        yield table["name"], drawing.png(figures.compared(_dots(table, runs), drawing.PRINT))
    for figure in content["figures"]:
        panels = [(panel["title"], _axis(panel["x"]), _lines(panel, runs)) for panel in figure["panels"]]
        yield figure["name"], drawing.png(figures.panels(panels, drawing.PRINT))
    if over := factors.counts(published(FACTORS)["counts"], runs):
        values = {(float(images), float(steps)): number.mean for (images, steps), number in over.items()}
        yield GRID, drawing.png(figures.heat(values, "test accuracy, %", drawing.PRINT))
    if picture := opening.picture(runs):
        yield "opening", picture


def _heading(entry: dict[str, Any]) -> list[str]:
    note = [entry["note"]] if "note" in entry else []
    return [
        f"## {entry['title']}\n",
        f"{entry['source']}; in percent.\n",
        *note,
        f"![]({entry['name']}.png)\n",
    ]


def _cell(column: dict[str, Any], row: dict[str, Any], runs: Sequence[RecordedRun]) -> Number | None:
    found = _of_cell(column, row, runs)
    return measured(found, column["method"]) if found else None


def _of_cell(column: dict[str, Any], row: dict[str, Any], runs: Sequence[RecordedRun]) -> list[RecordedRun]:
    """Return the experiment's runs that have the method; if none has, those that judge its published sets."""
    if not (experiment := row["runs"].get(column.get("run"))):
        return []
    own = [run for run in seeds.of(runs, experiment) if column["method"] in run.result.rows]
    return own or seeds.judging((run for run in runs if column["method"] in run.result.rows), experiment)


def number(printed: str | None) -> Number | None:
    """Return `79.5 ± 8.1` as numbers."""
    if printed is None:
        return None
    mean, _, std = printed.partition(" ± ")
    return Number(float(mean), float(std) if std else None)


def _table(table: dict[str, Any], runs: Sequence[RecordedRun]) -> list[str]:
    columns, gains = table["columns"], table.get("gains", [])
    lines = []
    for row in table["rows"]:
        printed = [number(cell) for cell in row["paper"]]
        lines.append(
            [f"{row['title']}, paper", *(cell or "" for cell in row["paper"]), *_gains(gains, printed)]
        )
        cells = [_cell(column, row, runs) for column in columns]
        lines.append([f"{row['title']}, ours", *map(_bold, cells), *map(bold, _gains(gains, cells))])
    return [*markdown(["", *(column["title"] for column in (*columns, *gains))], lines), ""]


def _gains(gains: Sequence[dict[str, Any]], cells: Sequence[Number | None]) -> list[str]:
    """Return for each of the `gains` by how much the mean of cell `of` is above that of cell `over`."""
    pairs = [(cells[gain["of"]], cells[gain["over"]]) for gain in gains]
    return [f"{of.mean - over.mean:+.1f}" if of and over else "" for of, over in pairs]


def _bold(cell: Number | None) -> str:
    return bold(seeds.shown(cell))


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
    return [
        run for row in table["rows"] for column in table["columns"] for run in _of_cell(column, row, runs)
    ]


def _x(run: RecordedRun, key: str) -> Any:
    if key == IMAGES:
        return run.result.value("distilled.steps") * run.result.value("distilled.images_per_class")
    return run.result.value(key)


def _axis(key: str) -> str:
    return key.rpartition(".")[2].replace("_", " ")


def _runs_of(line: dict[str, Any], runs: Sequence[RecordedRun], x: str) -> dict[Any, list[RecordedRun]]:
    """Return the runs at each x of the paper's line, one for each seed."""
    free = COUNTS if x == IMAGES else (x,)
    at: dict[Any, list[RecordedRun]] = {}
    for run in runs:
        if any(seeds.is_of(run, e, line.get("where", {}), free) for e in line["experiments"]):
            at.setdefault(_x(run, x), []).append(run)
    return {value: seeds.latest(at[value]) for value in line["paper"] if value in at}


def _points(figure: dict[str, Any], runs: Sequence[RecordedRun]) -> list[str]:
    text = []
    for panel in figure["panels"]:
        values = list(panel["lines"][0]["paper"])
        lines = []
        for line in panel["lines"]:
            lines.append([f"{line['name']}, paper", *line["paper"].values()])
            own = _runs_of(line, runs, panel["x"])
            cells = [measured(own.get(value, []), line["method"], line["metric"]) for value in values]
            lines.append([f"{line['name']}, ours", *map(_bold, cells)])
        head = [f"{panel['title']}: {_axis(panel['x'])}", *map(str, values)]
        text += [*markdown(head, lines), ""]
    return text


def _lines(panel: dict[str, Any], runs: Sequence[RecordedRun]) -> list[drawing.Series]:
    """Our lines, and the paper's, which are dashed."""
    lines = []
    for line in panel["lines"]:
        own = _runs_of(line, runs, panel["x"])
        points = {x: measured(at, line["method"], line["metric"]) for x, at in own.items()}
        paper = {x: number(printed) for x, printed in line["paper"].items()}
        for numbers, dashed in ((points, False), (paper, True)):
            present = {x: point for x, point in numbers.items() if point is not None}
            means = [point.mean for point in present.values()]
            stds = [point.std for point in present.values()]
            lines.append(drawing.Series(line["name"], list(present), means, stds, dashed))
    return lines


def _of_figure(figure: dict[str, Any], runs: Sequence[RecordedRun]) -> list[RecordedRun]:
    return [
        run
        for panel in figure["panels"]
        for line in panel["lines"]
        for at in _runs_of(line, runs, panel["x"]).values()
        for run in at
    ]


def _used(runs: Sequence[RecordedRun], output: Path) -> list[str]:
    """List the runs that our numbers come from."""
    lines = []
    for run in {run.path: run for run in runs}.values():
        where = os.path.relpath(run.path, output)
        row, made = run.result.rows.get("distilled"), run.result.provenance
        judges = f"{row.networks} held-out network{'s' * (row.networks > 1)}" if row and row.networks else ""
        seconds = run.result.distillation_seconds
        minutes = "" if seconds is None else f"distilled in {seconds / 60:.0f} min"
        commit = f"commit {made.git_commit[:7]}" if made.git_commit else ""
        about = "; ".join(filter(None, [f"`{run.command}`", judges, minutes, commit]))
        said = filter(None, [protocol(run.result), beaten(run.result)])
        lines.append(" ".join([f"- `{where}`: {about}.", *said]))
    return [*lines, ""] if lines else [NO_RUN]
