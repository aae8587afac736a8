"""The modern setting: our sets of ConvNet-3, trained on the ordinary way, beside those of later methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from dataset_distillation.report import seeds
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.report.seeds import measured

FIELD = 128  # the width at which later methods are judged
DETAILS = ("experiment", "width", "own schedule", "`training=dc`", f"`training=dc`, width {FIELD}", "hours")


def page(content: Mapping[str, Any], runs: Sequence[RecordedRun]) -> str:
    """Return the page in Markdown: a row for each size of set, and one for each experiment that has runs."""
    methods = content["methods"]
    table = [["data", "images per class", "**ours**", *methods]]
    details = [list(DETAILS)]
    for row in content["rows"]:
        found = [_details(experiment, runs) for experiment in row["experiments"]]
        details += filter(None, found)
        ours = [cells[-2] for cells in found if cells and cells[-2]]
        published = [row["published"].get(method, "") for method in methods]
        table.append([row["data"], str(row["images"]), *(ours[:1] or [""]), *published])
    parts = [f"# {content['title']}\n", content["about"], *_lines(table), "", content["legend"]]
    if len(details) > 1:
        parts += [content["details"], *_lines(details), ""]
    return "\n".join(parts)


def _lines(table: Sequence[Sequence[str]]) -> list[str]:
    head, *rows = table
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def _details(experiment: str, runs: Sequence[RecordedRun]) -> list[str]:
    own = seeds.of(runs, experiment)
    if not own:
        return []
    width = own[0].result.value("architecture.width")
    hours = fmean((run.result.provenance.cpu_seconds or 0) / 3600 for run in own)
    as_made, as_field = (_text(_judged(experiment, runs, at)) for at in (width, FIELD))
    bold = f"**{as_field}**" if as_field else ""
    return [f"`{experiment}`", str(width), _text(own), as_made, bold, f"{hours:.1f}"]


def _judged(experiment: str, runs: Sequence[RecordedRun], width: int) -> list[RecordedRun]:
    """Return the last run of each seed in which networks of `width`, trained as DC does, judge its set."""
    last: dict[str, RecordedRun] = {}
    for run in runs:
        places = Path(run.result.artifact or "").parts[-3:-1]  # (experiment, seed_<n>)
        dc = run.result.value("training") == "dc" and run.result.value("architecture.width") == width
        if run.judges and places[:1] == (experiment,) and dc:
            last[places[1]] = run
    return [last[seed] for seed in sorted(last)]


def _text(runs: Sequence[RecordedRun]) -> str:
    number = measured(runs, "distilled")
    return "" if number is None else number.text(1)
