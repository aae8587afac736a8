"""One experiment with its data and its network: what distillation and evaluation have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from dataset_distillation.architectures import Weights
from dataset_distillation.config import Experiment
from dataset_distillation.datasets import Data, Split
from dataset_distillation.randomness import stream


@dataclass(frozen=True)
class Problem:
    """`network` gives the form of θ; its own weights mean nothing."""

    experiment: Experiment
    data: Data
    network: nn.Module

    @cached_property
    def validation(self) -> Split:
        """The part of the validation split that checkpoints and learning rates are chosen on."""
        e, split = self.experiment, self.data.validation
        # At random: many sources are sorted by class.
        order = torch.randperm(len(split), generator=stream(e.seed, "validation images"))
        return split.subset(order[: e.evaluation.validation_images])

    def population(self, purpose: str, number: int, step: int = 0) -> list[Weights]:
        """`number` initial weights θ0 for `purpose` at outer `step`, on the network's device."""
        e = self.experiment
        device = next(self.network.parameters()).device
        weights = e.init.population(
            lambda generator: e.architecture.draw(self.network, generator, self.data.specification),
            e.seed,
            purpose,
            step,
            number,
        )
        return [{name: tensor.to(device) for name, tensor in w.items()} for w in weights]
