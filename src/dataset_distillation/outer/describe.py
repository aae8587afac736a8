"""The distilled data together with the metadata that a reader of the file needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.data import DistilledData
from dataset_distillation.errors import choice_of
from dataset_distillation.networks.weights import checksum
from dataset_distillation.problem import Problem


def describe(
    problem: Problem, distilled: DistilledData, more: dict[str, Any], store_whitening: bool = False
) -> DistilledSet:
    """Return the distilled data with all metadata that a reader needs who has the file alone.

    `more` is added to the metadata; it has at least `config`, the options that the data were made with.
    store_whitening: whether the set holds what whitens other images, too.
    """
    specification, known = problem.data.specification, problem.known
    images, whitening = distilled.images.detach().cpu(), specification.whitening
    if whitening:
        more = {"whitening": whitening.described, **more}
    return DistilledSet(
        images=images,
        labels=distilled.targets.detach().cpu(),
        learning_rates=distilled.learning_rates.detach().cpu(),
        plain_images=whitening.undo(images) if whitening else None,
        initial_weights=problem.init.stored(known) if known else {},
        whitening=whitening.stored if whitening and store_whitening else {},
        metadata={
            "order": _order(distilled),
            "dataset": specification.name,
            "class_names": list(specification.class_names),
            "mean": list(specification.mean),
            "std": list(specification.std),
            "own_scale": problem.data.train.own_scale,
            "architecture": choice_of(problem.architecture),
            "init": choice_of(problem.init),
            "initial_weights_sha256": checksum(known) if known else None,
            "objective": choice_of(problem.objective),
            "loss": problem.objective.loss,
            "inner_optimizer": choice_of(problem.inner_optimizer),
            "augmentation": choice_of(problem.augmentation),
            "train_images": len(problem.data.train) + len(problem.data.validation),
            "batches": asdict(distilled.batches),
            **more,
        },
    )


def _order(distilled: DistilledData) -> str:
    """What a reader needs to know about the inner steps, in words."""
    batches = distilled.batches
    if batches.size is not None:
        chosen = "at random" if batches.random else "in order"
        return f"{batches.number} steps, each with {batches.size} of all images, chosen {chosen}"
    if distilled.learning_rates.numel() == batches.number and batches.number % len(distilled.images) == 0:
        return "epoch by epoch, in each epoch all steps in order, each with its own learning rate"
    return f"{batches.number} steps in order, and after the last the first again"
