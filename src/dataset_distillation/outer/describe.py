"""The distilled data with all that a reader of their file must know."""

from __future__ import annotations

from typing import Any

from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.data import DistilledData
from dataset_distillation.networks.weights import checksum
from dataset_distillation.problem import Problem
from dataset_distillation.run.run import Run


def describe(problem: Problem, distilled: DistilledData, run: Run, origin: dict[str, Any]) -> DistilledSet:
    """The distilled data with everything that a reader of the file alone must know."""
    e, specification = problem.experiment, problem.data.specification
    known = problem.population("init", 1)[0] if e.init.known else None
    return DistilledSet(
        images=distilled.images.detach().cpu(),
        labels=distilled.labels.detach().cpu(),
        learning_rates=distilled.learning_rates.detach().cpu(),
        initial_weights=e.init.stored(known) if known else {},
        metadata={
            "order": "epoch by epoch, in each epoch all steps in order, each with its own learning rate",
            "dataset": specification.name,
            "class_names": list(specification.class_names),
            "mean": list(specification.mean),
            "std": list(specification.std),
            "architecture": run.choices["architecture"],
            "init": run.choices["init"],
            "initial_weights_sha256": checksum(known) if known else None,
            "objective": run.choices["objective"],
            "loss": e.objective.loss,
            "inner_optimizer": run.choices["inner_optimizer"],
            "choices": run.choices,
            "config": run.config,
            "train_images": len(problem.data.train) + len(problem.data.validation),
            **origin,
        },
    )
