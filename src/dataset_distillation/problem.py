"""One experiment with its data and its network: what distillation and evaluation have in common."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from dataset_distillation.architectures import Weights
from dataset_distillation.datasets.data import Data, Split
from dataset_distillation.errors import refuse
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.init.pooled import Pooled
from dataset_distillation.networks.pool import Pool
from dataset_distillation.networks.weights import checksum
from dataset_distillation.randomness import stream


@dataclass(frozen=True)
class Problem:
    """`network` gives the form of θ; its own weights mean nothing."""

    experiment: Experiment
    data: Data
    network: nn.Module

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of what a run depends on: its config, the data, and the weights of a θ0 that is known."""
        known = [checksum(w) for w in self.population("init", 1)] if self.experiment.init.known else []
        parts = [repr(self.experiment), self.data.checksum, *known]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    @cached_property
    def validation(self) -> Split:
        """The part of the validation split that checkpoints and learning rates are chosen on."""
        e, split = self.experiment, self.data.validation
        # At random: many sources are sorted by class.
        order = torch.randperm(len(split), generator=stream(e.seed, "validation images"))
        return split.subset(order[: e.evaluation.validation_images])

    def population(self, purpose: str, number: int, step: int = 0) -> list[Weights]:
        """`number` initial weights θ0 for `purpose` at outer `step`, on the network's device."""
        device = next(self.network.parameters()).device
        weights = self.experiment.init.population(self, purpose, number, step)
        return [{name: tensor.to(device) for name, tensor in w.items()} for w in weights]

    @cached_property
    def pool(self) -> Pool:
        """The pretrained networks that an init with a source draws from. Raises ConfigError."""
        e, init = self.experiment, self.experiment.init
        assert isinstance(init, Pooled)
        source = init.source or e.dataset
        device = next(self.network.parameters()).device
        pool = Pool(e.architecture, source, init.pretraining, device, e.trainer.progress_bar)
        if (theirs := pool.data.specification.classes) != (ours := self.data.specification.classes):
            allowed = f"has {theirs} classes, and {e.dataset.name} has {ours}: one network cannot have both"
            raise refuse("init.source", source.name, allowed)
        return pool

    def draw(self, purpose: str, step: int = 0) -> Weights:
        """One sample of the architecture's own distribution of weights, on the CPU."""
        e = self.experiment
        return e.architecture.draw(self.network, stream(e.seed, purpose, step), self.data.specification)
