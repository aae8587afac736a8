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
DETAILS = (
    "experiment", "width", "own schedule", "`training=dc`", f"`training=dc`, width {FIELD}",
    "and augmented as it was distilled", "hours",
)  # fmt: skip


def page(content: Mapping[str, Any], runs: Sequence[RecordedRun]) -> str:
    """Return the page in Markdown: a row for each size of set, and one for each experiment that has runs."""
    methods = content["methods"]
    table = [["data", "images per class", "**ours**", *methods]]
    details = [list(DETAILS)]
    for row in content["rows"]:
        found = [_details(experiment, runs) for experiment in row["experiments"]]
        details += filter(None, found)
        ours = [cells[-3] for cells in found if cells and cells[-3]]
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
    at_width, at_field = (_text(_judged(experiment, runs, at, "none")) for at in (width, FIELD))
    bold = f"**{at_field}**" if at_field else ""
    made_by = own[0].result.choices.get("augmentation", "none")
    augmented = "" if made_by == "none" else _text(_judged(experiment, runs, FIELD, made_by))
    return [f"`{experiment}`", str(width), _text(own), at_width, bold, augmented, f"{hours:.1f}"]


def _judged(experiment: str, runs: Sequence[RecordedRun], width: int, augmentation: str) -> list[RecordedRun]:
    """Return the last run of each seed in which networks of `width`, trained as DC does, judge its set.

    augmentation: the choice that their training images are changed by.
    """
    last: dict[str, RecordedRun] = {}
    for run in runs:
        places = Path(run.result.artifact or "").parts[-3:-1]  # (experiment, seed_<n>)
        told = (run.result.choices.get(key) for key in ("training", "augmentation@training.augmentation"))
        dc = run.result.value("architecture.width") == width and tuple(told) == ("dc", augmentation)
        if run.judges and places[:1] == (experiment,) and dc:
            last[places[1]] = run
    return [last[seed] for seed in sorted(last)]


def _text(runs: Sequence[RecordedRun]) -> str:
    number = measured(runs, "distilled")
    return "" if number is None else number.text(1)
