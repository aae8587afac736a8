"""One line for each experiment that has runs: what was distilled, the paper's number, and ours over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dataset_distillation.distilled.options import LEARNED
from dataset_distillation.report import seeds
from dataset_distillation.report.markdown import markdown
from dataset_distillation.report.names import is_baseline, readable
from dataset_distillation.report.numbers import number
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.report.seeds import measured

COLUMNS = (
    "experiment", "distilled data", "paper", "**ours**", "worst network", "random real images",
    "before training", "full training", "processor time",
)  # fmt: skip
METHODS = ("distilled", "random_real", "before_training", "full_training")
LEGEND = (
    "Test accuracy in percent: the mean over seeds of the distillation. The first ± is the standard\n"
    "deviation between the runs of one seed, which are its networks, and for random real images also its\n"
    "ten sets; the one in brackets is that between the means of the seeds. The worst network is that of all\n"
    "seeds. An attack's accuracy is on the modified labels, where a 0 counts as a 1; before the attack, the\n"
    "other digits alone are right. Networks are trained on random real images for as many steps as\n"
    "validation asks for, up to ten times those of the distilled data; the paper's baselines had 1, 3 or 5\n"
    "epochs. Processor time is the least over the seeds: baselines, and a pool of pretrained networks that\n"
    "is not there yet, come on top. `distill experiment=<its name> seed=<n>` makes such a row; the whole\n"
    "command of each run, which may name other baselines and validation networks, is in its `result.json`."
)


def summary(entries: Iterable[Mapping[str, str]], runs: Sequence[RecordedRun]) -> str:
    """Return the table as Markdown, of the `entries` that have runs.

    An entry has the `experiment`; the `metric` and what that is `about`, if it is not the accuracy; and the
    number of the `paper`, if it has one.
    """
    rows: list[list[str]] = []
    better: list[str] = []
    used: list[RecordedRun] = []
    for entry in entries:
        own = seeds.of(runs, entry["experiment"])
        rows += [_row(entry, own)] if own else []
        if "metric" not in entry:
            better += _better(entry["experiment"], own)
            used += own
    if better:
        told = "Of the baselines that were run, besides full training, these beat the distilled data"
        better = [f"\n{told}: {'; '.join(better)}.\n"]
    return "\n".join([*markdown(COLUMNS, rows), "", LEGEND, *better, *_made_by(used)]) + "\n"


def _row(entry: Mapping[str, str], runs: Sequence[RecordedRun]) -> list[str]:
    metric = entry.get("metric", runs[0].result.metric.name)
    rows = [row for run in runs if (row := run.result.rows.get("distilled")) and row.networks > 1]
    worst = [spread.min for row in rows if (spread := row.metrics.get(metric, row)).min is not None]
    numbers = {method: seeds.shown(measured(runs, method, metric), 2) for method in METHODS}
    minutes = min((run.result.provenance.cpu_seconds or 0) / 60 for run in runs)
    return [
        f"`{entry['experiment']}`" + (f", {entry['about']}" if "about" in entry else ""),
        _data(runs[0]),
        entry.get("paper", ""),
        f"**{numbers['distilled']}**",
        number(min(worst), runs[0].result.metric).removesuffix(" %") if worst else "",
        numbers["random_real"] + _after(runs),
        numbers["before_training"],
        numbers["full_training"],
        f"{minutes:.0f} min",
    ]


def _after(runs: Sequence[RecordedRun]) -> str:
    """`, 300 steps`: how long networks were trained on random real images."""
    rows = [run.result.rows.get("random_real") for run in runs]
    tried = sorted({row.steps for row in rows if row and row.steps})
    if len(tried) > 1:
        return f", {tried[0]} to {tried[-1]} steps"
    return f", {_some(tried[0], 'step')}" if tried else ""


def _better(experiment: str, runs: Sequence[RecordedRun]) -> list[str]:
    """Say which baselines have a higher accuracy than the distilled data, over the seeds of an experiment."""
    ours = measured(runs, "distilled")
    methods = dict.fromkeys(row.method for run in runs for row in run.result.evaluation)
    found = {
        method: number
        for method in methods
        if is_baseline(method) and method != "full_training"
        and (number := measured(runs, method)) and ours and number.mean > ours.mean
    }  # fmt: skip
    told = ", ".join(f"{readable(method)} {number.text(2)}" for method, number in found.items())
    return [f"in `{experiment}` {told}"] if told else []


def _data(run: RecordedRun) -> str:
    """`100 images, 10 steps × 3 epochs`."""
    steps, epochs = (run.result.value(f"distilled.{key}") for key in ("steps", "epochs"))
    images = run.result.storage.images if run.result.storage else None
    labels = ", labels learned" if run.result.value("distilled.labels") in LEARNED else ""
    return f"{images} images{labels}, {_some(steps, 'step')} × {_some(epochs, 'epoch')}"


def _some(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _made_by(runs: Sequence[RecordedRun]) -> list[str]:
    """Name the processors and the commits."""
    made = [run.result.provenance for run in runs]
    processors = sorted({str(one.hardware.get("processor")) for one in made})
    commits = sorted({str(one.git_commit)[:7] for one in made})
    if not made:
        return []
    threads = " or ".join(_some(number, "thread") for number in sorted({one.threads or 1 for one in made}))
    return [f"Processor: {', '.join(processors)}; {threads}. Commits: {', '.join(commits)}."]
