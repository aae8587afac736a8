"""One network trained beforehand on a source dataset; it is the same in distillation and in evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.architectures import Weights
from dataset_distillation.init import Origin
from dataset_distillation.init.fixed import Fixed
from dataset_distillation.init.pooled import Pooled


@dataclass
class FixedPretrained(Pooled, Fixed):
    """Fixed pre-trained weights (Section 3.5).

    networks: must be 1, since θ0 is one network.
    source: the dataset that the network is trained on; None: the dataset that is distilled.
    pretraining: how it is trained.

    Raises ConfigError if a value is not allowed.
    """

    def members(self, validation_networks: int) -> list[str]:
        return ["fixed"]

    def population(self, origin: Origin, purpose: str, number: int, step: int = 0) -> list[Weights]:
        return [member.weights for member in self.pool(origin).members(["fixed"])]
