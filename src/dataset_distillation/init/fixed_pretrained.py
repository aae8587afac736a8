"""One network trained beforehand on a source dataset, the same in distillation and in evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.architectures import Weights
from dataset_distillation.init import Origin
from dataset_distillation.init.fixed import Fixed
from dataset_distillation.init.pooled import Pooled


@dataclass
class FixedPretrained(Pooled, Fixed):
    """Section 3.5, fixed pre-trained weights."""

    def members(self, validation_networks: int) -> list[str]:
        return ["fixed"]

    def population(self, origin: Origin, purpose: str, number: int, step: int = 0) -> list[Weights]:
        return [member.weights for member in self.pool(origin).members(["fixed"])]
