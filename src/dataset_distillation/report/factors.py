"""What each choice gives: accuracy over images and steps, and a recipe with one factor changed at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dataset_distillation.report import seeds
from dataset_distillation.report.markdown import NO_RUN, markdown
from dataset_distillation.report.runs import COUNTS, RecordedRun
from dataset_distillation.report.seeds import Number, measured


def counts(content: Mapping[str, Any], runs: Sequence[RecordedRun]) -> dict[tuple[int, int], Number]:
    """Return our number at each (images per class in a step, steps) that the experiment has runs of."""
    own = [run for run in runs if seeds.is_of(run, content["experiment"], free=COUNTS)]
    cells: dict[tuple[int, int], list[RecordedRun]] = {}
    for run in own:
        cells.setdefault((run.result.value(COUNTS[0]), run.result.value(COUNTS[1])), []).append(run)
    numbers = {at: measured(seeds.latest(cells[at]), "distilled") for at in sorted(cells)}
    return {at: number for at, number in numbers.items() if number}


def page(
    content: Mapping[str, Any],
    cells: Mapping[tuple[int, int], Number],
    runs: Sequence[RecordedRun],
    picture: str,
) -> str:
    """Return the page in Markdown; `cells` are those of `counts`, and `picture` the file that draws them."""
    over = content["counts"]
    parts = [f"# {content['title']}\n", content["about"], f"## {over['title']}\n", over["about"]]
    parts += [f"![]({picture})\n", *_grid(cells), ""] if cells else [NO_RUN]
    for ablation in content["ablations"]:
        parts += [f"## {ablation['title']}\n", ablation["about"], *_ablation(ablation, runs), ""]
    return "\n".join(parts)


def _grid(cells: Mapping[tuple[int, int], Number]) -> list[str]:
    images, steps = (sorted({at[axis] for at in cells}) for axis in (0, 1))
    rows = [
        [f"{count} step" + "s" * (count > 1), *(str(cells.get((n, count), "")) for n in images)]
        for count in steps
    ]
    return markdown(["", *(f"{n} per class" for n in images)], rows)


def _ablation(content: Mapping[str, Any], runs: Sequence[RecordedRun]) -> list[str]:
    rows, columns = content["rows"], content["columns"]
    own = [
        seeds.latest(run for run in runs if seeds.is_of(run, content["experiment"], row["where"]))
        for row in rows
    ]
    lines = []
    for row, found in zip(rows, own, strict=True):
        typed = " ".join(f"`{key}={value}`" for key, value in row["where"].items())
        line = [row["name"], typed]
        for method in columns.values():
            number = measured(found, method)
            change = _change(method, own[0], found) if row["where"] else ""
            line += [seeds.shown(number, 2), change]
        lines.append(line)
    return markdown(["", "options", *(title for name in columns for title in (name, "change"))], lines)


def _change(method: str, before: Sequence[RecordedRun], after: Sequence[RecordedRun]) -> str:
    """Return by how much the means differ, over the seeds that both have; nothing without any."""
    of_seed = [{run.result.value("seed") or 0: run for run in runs} for runs in (before, after)]
    common = of_seed[0].keys() & of_seed[1].keys()
    was, now = (measured([runs[seed] for seed in common], method) for runs in of_seed)
    return f"{now.mean - was.mean:+z.2f}" if was and now else ""
