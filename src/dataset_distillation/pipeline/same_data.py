"""Whether an artifact is judged on the data that it was made from, in the same form and split."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from dataset_distillation.datasets import Dataset
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.errors import refuse
from dataset_distillation.experiment.digest import absences
from dataset_distillation.experiment.tree import Evaluate
from dataset_distillation.problem import Problem

log = logging.getLogger(__name__)

#: Options that change neither the test images nor what networks see of them: where files are, what is cut
#: from the train set; and the names of the classes, which are only shown.
OTHERS = ("root", "path", "download", "cache", "validation", "split_seed", "class_names", "on_error")
#: Options that change what networks see of an image, and not which images are in the test split.
SEEN_AS = (
    "name", "channels", "image_size", "border", "mean", "std", "background", "whitening", "regularization",
)  # fmt: skip


def check(e: Evaluate, problem: Problem, distilled: DistilledSet) -> None:
    """Log in one line how the data differ from those that the artifact was made from.

    Raises ConfigError if test images were among those, unless `allow_seen` is set.
    """
    made, here = _made(e.dataset, distilled), _here(e.dataset, problem)
    if changed := [key for key in made if not _equal(made[key], here[key])]:
        then, now = (", ".join(f"dataset.{key}={_text(of[key])}" for key in changed) for of in (made, here))
        log.warning("%s was made with %s; here: %s", e.artifact, then, now)
    elif (source := distilled.metadata.get("data_checksum")) and problem.data.checksum not in ("", source):
        # A test split that was read alone has no checksum. One that is cut from all images is another cut.
        text = "%s was made from other data than the present %s; test images may have been among those"
        log.warning(text, e.artifact, e.dataset.title)
    chosen = {key: made[key] for key in changed if key not in SEEN_AS}
    if chosen and made["name"] == here["name"] and not e.allow_seen:
        _refuse_seen(e.dataset, chosen, distilled)


def _made(dataset: Dataset, distilled: DistilledSet) -> dict[str, Any]:
    """Return the options of the data that the artifact was made from, as far as `dataset` has them, too."""
    metadata = distilled.metadata
    named = {"name": metadata.get("dataset", dataset.name)}
    known = absences(Dataset) | named | metadata["config"].get("dataset", {})
    known |= {key: metadata[key] for key in ("mean", "std")}
    return {f.name: known[f.name] for f in fields(dataset) if f.name in known and f.name not in OTHERS}


def _here(dataset: Dataset, problem: Problem) -> dict[str, Any]:
    specification = problem.data.specification
    return vars(dataset) | {"mean": list(specification.mean), "std": list(specification.std)}


def _refuse_seen(dataset: Dataset, chosen: dict[str, Any], distilled: DistilledSet) -> None:
    """Raise ConfigError if test images are among the train images of the `chosen` options."""
    before, metadata = replace(dataset, **chosen), distilled.metadata
    path = getattr(dataset, "path", None)
    moved = path != metadata["config"]["dataset"].get("path", path) and "data_checksum" in metadata
    if moved and before.splits().checksum != metadata["data_checksum"]:  # another folder, with other images
        return
    train, test = set(before.identities().train), dataset.identities().test
    if seen := sum(image in train for image in test):
        key, number = next(iter(chosen)), f"{seen:,} of {len(test):,}"
        allowed = f"the artifact was made from {number} of these test images"
        remedy = f"use dataset.{key}={_text(chosen[key])}, or allow_seen=true to judge on them all the same"
        raise refuse(f"dataset.{key}", _text(vars(dataset)[key]), allowed, remedy)


def _equal(one: Any, other: Any) -> bool:
    numbers = isinstance(one, Sequence) and not isinstance(one, str) and len(one or []) == len(other or [])
    return bool(np.allclose(one, other, atol=1e-4)) if numbers and one else bool(one == other)


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
