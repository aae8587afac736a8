"""What distillation and evaluation have in common: data, a network, p(θ0), an objective, a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture, Weights
from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.data import Data, Split
from dataset_distillation.errors import choice_of, refuse
from dataset_distillation.init import Init, Origin
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.objectives import Objective
from dataset_distillation.randomness import stream

if TYPE_CHECKING:
    import torch
    from torch import nn


def check_parts(
    dataset: Dataset, architecture: Architecture, init: Init, objective: Objective, stored: bool = False
) -> None:
    """Raise ConfigError unless these fit each other; `stored`: an artifact may hold θ0."""
    size, name = dataset.image_size, f"dataset.name={dataset.name}"
    architecture.check((dataset.channels, size, size))
    if objective.numbers and not dataset.numbers:
        allowed, remedy = f"predicts numbers, and {name} has classes", "use objective=standard"
        raise refuse("objective", choice_of(objective), allowed, remedy)
    if dataset.numbers and not objective.numbers:
        allowed, remedy = f"is about classes, and {name} has numbers", "use objective=regression"
        raise refuse("objective", choice_of(objective), allowed, remedy)
    init.check(dataset, stored)
    if objective.trained_init and not init.trained:
        other = " dataset@init.source=..." if objective.other_source else ""
        remedy = f"use init=pretrained{other}"
        raise refuse("objective", choice_of(objective), "is of trained networks", remedy)
    if objective.other_source and init.trained_on(dataset):
        remedy = "choose another, for example dataset@init.source=usps, or objective=standard"
        raise refuse("init.source", dataset.name, "is the dataset that is distilled", remedy)
    if dataset.class_names:
        objective.check(dataset.class_names)


@dataclass(frozen=True)
class Problem:
    """`network` gives the form of θ; its own weights mean nothing."""

    data: Data
    network: nn.Module
    architecture: Architecture
    init: Init  # bound to the dataset
    objective: Objective  # bound to the classes
    inner_optimizer: InnerOptimizer
    seed: int

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @cached_property
    def origin(self) -> Origin:
        """What samples of θ0 depend on."""
        return Origin(self.architecture, self.network, self.data.specification, self.seed)

    def population(self, purpose: str, number: int, step: int = 0) -> list[Weights]:
        """`number` initial weights θ0 for `purpose` at outer `step`, on the network's device."""
        population = self.init.population(self.origin, purpose, number, step)
        return [{name: tensor.to(self.device) for name, tensor in weights.items()} for weights in population]

    @property
    def known(self) -> Weights | None:
        """θ0, where it is one known sample."""
        return self.population("init", 1)[0] if self.init.known else None

    def validation(self, images: int) -> Split:
        """`images` of the validation split, that checkpoints and learning rates are chosen on."""
        import torch

        split = self.data.validation
        # At random: many sources are sorted by class.
        order = torch.randperm(len(split), generator=stream(self.seed, "validation images"))
        return split.subset(order[:images])
