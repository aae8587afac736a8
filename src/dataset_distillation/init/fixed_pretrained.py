"""One network trained beforehand on a source data set, the same in distillation and in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.init.fixed import Fixed
from dataset_distillation.init.pooled import Pooled

if TYPE_CHECKING:
    from dataset_distillation.architectures import Weights
    from dataset_distillation.problem import Problem


@dataclass
class FixedPretrained(Pooled, Fixed):
    """Section 3.5, fixed pre-trained weights."""

    def members(self, validation_networks: int) -> list[str]:
        return ["fixed"]

    def population(self, problem: Problem, purpose: str, number: int, step: int = 0) -> list[Weights]:
        return [member.weights for member in problem.pool.members(["fixed"])]
