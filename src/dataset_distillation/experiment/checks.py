"""Checks that cross the groups of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataset_distillation.errors import refuse

if TYPE_CHECKING:
    from dataset_distillation.experiment.tree import Experiment


def check_baselines(experiment: Experiment) -> None:
    """Raise ConfigError unless the baselines fit what the data set's targets are, classes or numbers."""
    numbers, ours = experiment.dataset.numbers, experiment.evaluation.baselines
    key, name = "evaluation.baselines", f"dataset.name={experiment.dataset.name}"
    for other in ours if numbers else []:
        if other != "closed_form":
            raise refuse(key, other, f"is about classes, and {name} has numbers", "take [closed_form] or []")
    if "closed_form" not in ours:
        return
    if not numbers:
        raise refuse(key, "closed_form", f"is of linear regression, and {name} has classes", "leave it out")
    for one in ("steps", "epochs"):
        if (value := getattr(experiment.distilled, one)) != 1:
            raise refuse(f"distilled.{one}", value, "must be 1 with evaluation.baselines=[closed_form]")
    if getattr(experiment.architecture, "bias", True):
        allowed = "must be false with evaluation.baselines=[closed_form]"
        raise refuse("architecture.bias", True, allowed, "take architecture=linear architecture.bias=false")
