"""The table of all methods, as a person reads it in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas

from dataset_distillation.objectives import shown
from dataset_distillation.report.numbers import mean_and_std, number
from dataset_distillation.report.table import show

PROTOCOLS = {
    "validation": "Learning rates, epochs and neighbours were chosen on the validation split.",
    "paper": "Learning rates, epochs and neighbours are those of the best result on the test set (paper).",
}
INTERVAL = (
    "distilled − this: 95 % interval of Student's t over runs, paired by held-out network; for nearest\n"
    "neighbours, which train no network, of Welch's t."
)


def show_methods(result: dict[str, Any], dataset: str) -> None:
    """Print the evaluation of a `result.json`: the table, how settings were chosen, and the storage."""
    records, metric = result["evaluation"], result["metric"]
    show(f"test {metric.replace('_', ' ')}, {dataset}", pandas.DataFrame(rows(result)), metric)
    if told := protocol(result):
        print(told)
    if any(record["low"] is not None for record in records):
        print(INTERVAL)
    if result["storage"]:
        print(storage(result["storage"]))


def protocol(result: dict[str, Any]) -> str:
    """How settings were chosen, if those of any row were."""
    return PROTOCOLS[result["selection"]] if any(map(chosen, result.get("evaluation") or [])) else ""


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of a `result.json`, one row a method."""
    records, metric = result["evaluation"], result["metric"]
    others = shown(metric, (name for record in records for name in record["metrics"]))[1:]
    return [row(record, metric, others) for record in records]


def row(record: dict[str, Any], metric: str, others: Sequence[str]) -> dict[str, Any]:
    """One method, by `metric`; of `others` it has the mean ± std."""
    apart = "" if record["difference"] is None else number(record["difference"], metric, "+")
    if record["low"] is not None:
        apart += f" [{number(record['low'], metric, '+')}, {number(record['high'], metric, '+')}]".replace(
            " %", ""
        )
    return {
        "method": record["method"].replace("_", " "),
        "mean ± std": mean_and_std(record, metric),
        **{name.replace("_", " "): mean_and_std(record["metrics"][name], name) for name in others},
        "min": record["min"],
        "distilled − this": apart,
        **{count: record[count] for count in ("networks", "sets", "runs")},
        "chosen": chosen(record),
        "seconds": record["seconds"],
    }


def chosen(record: dict[str, Any]) -> str:
    """The settings that were chosen for a method."""
    if record.get("learning_rate") is not None:
        return f"rate {record['learning_rate']:.3g} × {record['epochs']} epochs"
    return "" if record.get("distance") is None else f"{record['distance']}, K = {record['k']}"


def storage(sizes: dict[str, Any]) -> str:
    """What the distilled data take, in one line."""
    what = (
        f"storage: {sizes['images']} images, {sizes['images_per_class']:g} a class, {sizes['bytes']:,} bytes"
    )
    if not sizes["real_bytes"]:
        return what
    images, size = sizes["share_of_real_images"], sizes["share_of_real_bytes"]
    return f"{what}: {images:.3%} of the images and {size:.3%} of the bytes of the real train set"
