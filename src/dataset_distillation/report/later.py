"""The modern setting: our sets of ConvNet-3, trained on the ordinary way, beside those of later methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from dataset_distillation.report import seeds
from dataset_distillation.report.markdown import bold, markdown
from dataset_distillation.report.names import readable
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.report.seeds import measured

FIELD = 128  # the width at which later methods are judged
KEYS = ("training", "augmentation@training.augmentation")  # the choices that tell how a set was judged
WIDTH, STEPS = "architecture.width", "evaluation.matching_steps"
AT_FIELD = f"`training=dc`, width {FIELD}"
AUGMENTED = "and augmented as it was distilled"
#: Rows beside ours where networks were trained alike; the last two are later methods, which take time.
MATCHING = ("distribution_matching", "gradient_matching")
RIVALS = ("random_real", "k_means", *MATCHING)


def page(content: Mapping[str, Any], runs: Sequence[RecordedRun]) -> str:
    """Return the page in Markdown: a row for each size of set, and one for each experiment that has runs."""
    methods = content["methods"]
    rows: list[list[str]] = []
    details: list[dict[str, str]] = []
    for row in content["rows"]:
        by_experiment = {experiment: seeds.of(runs, experiment) for experiment in row["experiments"]}
        found = [_details(experiment, own, runs) for experiment, own in by_experiment.items() if own]
        ours = next((number for cells in found if (number := cells[AUGMENTED] or cells[AT_FIELD])), "")
        published = [row["published"].get(method, "") for method in methods]
        rows.append([row["data"], str(row["images"]), ours, *published])
        details += found
    table = markdown(["data", "images per class", "**ours**", *methods], rows)
    parts = [f"# {content['title']}\n", content["about"], *table, "", content["legend"]]
    if details:
        shown = [
            column
            for column in details[0]
            if column != AUGMENTED or any(cells[AUGMENTED] for cells in details)
        ]
        values = [[cells[column] for column in shown] for cells in details]
        parts += [content["details"], *markdown(shown, values), ""]
    experiments = [experiment for row in content["rows"] for experiment in row["experiments"]]
    if lines := [line for each in experiments if (line := _rivals(each, runs))]:
        *others, features, gradients = map(readable, RIVALS)
        head = ["experiment", "width", "**ours**"]
        titles = [*head, *others, "steps", features, "hours", gradients, "hours"]
        parts += [content["rivals"], *markdown(titles, lines), ""]
    return "\n".join(parts)


def _details(experiment: str, own: Sequence[RecordedRun], runs: Sequence[RecordedRun]) -> dict[str, str]:
    """The cells by column; what stands beside other papers is bold: augmented as it was distilled."""
    width = own[0].result.value(WIDTH)
    hours = fmean((run.result.provenance.cpu_seconds or 0) / 3600 for run in own)
    at_width, at_field = (_text(_judged(experiment, runs, at, "none")) for at in (width, FIELD))
    made_by = own[0].result.choices.get("augmentation", "none")
    done, planned = own[0].result.outer_steps or 0, own[0].result.value("outer.steps")
    ended = f", which its minutes ended at step {done:,} of {planned:,}" if done < planned else ""
    augmented = "" if made_by == "none" else _text(_judged(experiment, runs, FIELD, made_by))
    return {
        "experiment": f"`{experiment}`{ended}",
        "width": str(width),
        "own schedule": _text(own),
        "`training=dc`": at_width,
        AT_FIELD: at_field if augmented else bold(at_field),
        AUGMENTED: bold(augmented),
        "hours": f"{hours:.1f}",
    }


def _rivals(experiment: str, runs: Sequence[RecordedRun]) -> list[str]:
    """The cells of a set and its rivals at the distilled width, trained on alike; none without such a run."""
    own = seeds.of(runs, experiment)
    if not own:
        return []
    width, made_by = own[0].result.value(WIDTH), own[0].result.choices.get("augmentation", "none")
    having = [run for run in runs if set(MATCHING) <= set(run.result.rows)]
    if not (judged := _judged(experiment, having, width, made_by)):
        return []
    steps = judged[0].result.value(STEPS)
    alike = [run for run in judged if run.result.value(STEPS) == steps]
    ours, *others, features, gradients = (
        seeds.shown(measured(alike, name)) for name in ("distilled", *RIVALS)
    )
    hours = (fmean((run.result.rows[name].seconds or 0) / 3600 for run in alike) for name in MATCHING)
    of_features, of_gradients = (f"{each:.1f}" for each in hours)
    cells = [features, of_features, gradients, of_gradients]
    return [f"`{experiment}`", str(width), bold(ours), *others, f"{steps:,}", *cells]


def _judged(experiment: str, runs: Sequence[RecordedRun], width: int, augmentation: str) -> list[RecordedRun]:
    """Return the last run of each seed in which networks of `width`, trained as DC does, judge its set.

    augmentation: the choice that their training images are changed by.
    """
    wanted = (width, "dc", augmentation)
    asked = [run for run in runs if (run.result.value(WIDTH), *map(run.result.choices.get, KEYS)) == wanted]
    return seeds.judging(asked, experiment, (WIDTH, *KEYS))


def _text(runs: Sequence[RecordedRun]) -> str:
    return seeds.shown(measured(runs, "distilled"))
