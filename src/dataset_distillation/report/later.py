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
COLUMNS = (
    "experiment", "width", "by its own schedule", "`training=dc`", f"`training=dc`, width {FIELD}", "hours",
)  # fmt: skip


def page(content: Mapping[str, Any], runs: Sequence[RecordedRun]) -> str:
    """Return the page in Markdown: a line for each experiment that has runs; one for a row that has none."""
    methods = content["methods"]
    lines = [["", *COLUMNS, *methods], ["---"] * (1 + len(COLUMNS) + len(methods))]
    for row in content["rows"]:
        published = [row["published"].get(method, "") for method in methods]
        found = [(experiment, seeds.of(runs, experiment)) for experiment in row["experiments"]]
        ours = [_cells(experiment, own, runs) for experiment, own in found if own]
        lines += [[row["title"], *cells, *published] for cells in ours or [[""] * len(COLUMNS)]]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([f"# {content['title']}\n", content["about"], *table, "", content["legend"]])


def _cells(experiment: str, own: Sequence[RecordedRun], runs: Sequence[RecordedRun]) -> list[str]:
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
