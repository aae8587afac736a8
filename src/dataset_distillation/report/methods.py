"""The table of all methods for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataset_distillation.distilled.options import LEARNED
from dataset_distillation.evaluation.ranking import WEIGHT, label_robust
from dataset_distillation.objectives import ACCURACY, Metric
from dataset_distillation.report.names import explains, is_baseline, readable
from dataset_distillation.report.numbers import about, difference, mean_and_std, number
from dataset_distillation.report.table import show
from dataset_distillation.run.records import EvaluationRow, Result, Storage

PROTOCOLS = {
    "validation": "Learning rates, epochs and neighbors were chosen on the validation split.",
    "paper": "Learning rates, epochs and neighbors are those of the best result on the test set (paper).",
}


def show_methods(result: Result, dataset: str) -> None:
    """Print the evaluation of a run: the table, how the settings were chosen, and the storage."""
    table = [row(method, result.metric, result.metrics[1:]) for method in result.evaluation]
    show(f"test {result.metric.label}, {dataset}", table)
    for say in (protocol, interval, beaten, advice, ranking):
        if text := say(result):
            print(text)
    if result.storage:
        print(storage(result.storage))


def interval(result: Result) -> str:
    """Return what the intervals of the differences are; nothing without any."""
    rows = [row for row in result.evaluation if row.low is not None]
    if not rows:
        return ""
    said = (
        "distilled − this: 95 % interval of Student's t over the means of the sets (of one set: over\n"
        "networks), paired by held-out network"
    )
    unpaired = {
        "nearest neighbors, which train no network": any(row.k is not None for row in rows),
        "other architectures or initial weights, which have networks of their own": any(map(of_others, rows)),
    }
    names = " and ".join(name for name, there in unpaired.items() if there)
    return said + (f"; Welch's t for {names}." if names else ".")


def of_others(row: EvaluationRow) -> bool:
    """Return whether other networks than the table's judge the distilled data in this row."""
    return row.method.startswith(("distilled_on_", "distilled_with_weights_"))


def beaten(result: Result) -> str:
    """Return which methods are better than the distilled data, in one line; nothing if none is."""
    metric, ours = result.metric, result.rows.get("distilled")
    better = [
        f"{readable(row.method)} ({mean_and_std(row, metric)})"
        for row in result.evaluation
        if is_baseline(row.method) and _beats(row, ours, metric)
    ]
    return f"Better than the distilled data: {', '.join(better)}." if better else ""


def _beats(row: EvaluationRow | None, ours: EvaluationRow | None, metric: Metric) -> bool:
    """Whether the mean of `row` is better than ours."""
    if row is None or ours is None or row.mean is None or ours.mean is None:
        return False
    return metric.best([row.mean, ours.mean]) != ours.mean


def advice(result: Result) -> str:
    """Return what to do if random real images are better than the distilled data; nothing if they are not."""
    if not _beats(result.rows.get("random_real"), result.rows.get("distilled"), result.metric):
        return ""
    remedy = "distill for more outer steps (outer.steps)"
    if any(map(explains, result.rows)):
        remedy = "the rows that explain it show whether it is judged otherwise than it was made for"
    elif result.artifact:
        remedy = "explain=true shows whether it is judged otherwise than it was made for"
    elif result.value("distilled.start") == "noise":
        remedy += ", or begin with real images (distilled.start=real)"
    return f"The distilled data are worse than random real images: {remedy}."


def ranking(result: Result) -> str:
    """Return the label robust score in one line; nothing without the rows that it is made of."""
    found = label_robust(result.rows, result.value("distilled.labels") in LEARNED)
    if found is None or result.metric != ACCURACY:
        return ""
    parts = f"HLR {found.recovery:+.2%} and IOR {found.improvement:+.2%} at w = {WEIGHT:g}".replace("%", " %")
    return (
        f"Label robust score (DD-Ranking, hard labels): {100 * found.score:.2f} %, of {parts}; "
        "it compares these rows, each trained in its own way."
    )


def protocol(result: Result) -> str:
    """Return how the settings were chosen, if any row has chosen settings."""
    return PROTOCOLS.get(result.selection, "") if any(map(chosen, result.evaluation)) else ""


def row(method: EvaluationRow, metric: Metric, others: Sequence[Metric]) -> dict[str, Any]:
    """Return the table row of one method by `metric`; the `others` are shown as mean ± std."""
    return {
        "method": readable(method.method),
        "mean ± std": mean_and_std(method, metric),
        **{other.label: mean_and_std(method.metrics.get(other.name), other) for other in others},
        "min": number(method.min, metric),
        "distilled − this": difference(method, metric),
        "interval about": about(method),
        "steps": method.steps,
        "networks": method.networks,
        "sets": method.sets,
        "runs": method.runs,
        "chosen": chosen(method),
        "seconds": method.seconds,
    }


def chosen(method: EvaluationRow) -> str:
    """Return the settings that were chosen for a method."""
    if method.epochs is not None:
        rate = "learned rates" if method.learning_rate is None else f"rate {method.learning_rate:.3g}"
        return f"{rate} × {method.epochs} epochs"
    return "" if method.distance is None else f"{method.distance}, K = {method.k}"


def storage(sizes: Storage) -> str:
    """Return the size of the distilled data, in one line."""
    per_class = f"{sizes.images_per_class:g} per class"
    line = f"storage: {sizes.images} images, {per_class}, {sizes.bytes:,} bytes"
    if sizes.share_of_real_images is None or sizes.share_of_real_bytes is None:
        return line
    images, size = sizes.share_of_real_images, sizes.share_of_real_bytes
    return f"{line}: {images:.3%} of the images and {size:.3%} of the bytes of the real train set"
