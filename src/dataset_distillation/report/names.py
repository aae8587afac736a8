"""The names of methods as people read them; those in CSV and JSON are for programs."""

from __future__ import annotations

from collections.abc import Iterable

#: What a row of `explain=true` changes, by how its name begins.
FACTORS = {
    "distilled_normalized_": "normalization",
    "distilled_tested_": "whitening",
    "distilled_with_labels_": "labels",
    "distilled_with_augmentation_": "augmentation",
    "distilled_with_weights_": "initial weights",
    "distilled_with_training_": "training",
}
VALUES = {
    "not_at_all": "none",
    "not_whitened": "none",
    "by_dc": "as DC",
    "by_dd": "as DD",
    "whitened_by_mtt": "as MTT",
    "whitened_by_rat_bptt": "as RaT-BPTT",
    "xavier": "Xavier",
    "own": "as torch draws",
}

#: Methods that are more than their words.
METHODS = {
    "k_means": "k-means",
    "k_center": "k-center",
    "nearest_neighbour_random_real": "nearest neighbors on random real",
    "nearest_neighbour_k_means": "nearest neighbors on k-means",
}


def explains(method: str) -> bool:
    """Return whether a row is of the distilled data with one factor changed (`explain=true`)."""
    return method.startswith(tuple(FACTORS))


def beside(methods: Iterable[str]) -> list[str]:
    """Return the rows that stand beside that of the distilled data in a table of several runs, each once."""
    return [method for method in dict.fromkeys(methods) if method not in ("before_training", "distilled")]


def is_baseline(method: str) -> bool:
    """Return whether a row is of other data, and not of the distilled data or of networks that saw none."""
    return method not in ("before_training", "no_training") and not method.startswith("distilled")


def readable(method: str) -> str:
    """Return `random real` of `random_real`; `training: dsa` of `distilled_with_training_dsa`."""
    for prefix, factor in FACTORS.items():
        if method.startswith(prefix):
            value = method.removeprefix(prefix)
            return f"{factor}: {VALUES.get(value, value.replace('_', ' '))}"
    return METHODS.get(method, method.replace("_", " "))
