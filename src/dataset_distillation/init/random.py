"""A fresh sample of p(θ0) for each outer step; held-out samples in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.init import Init

if TYPE_CHECKING:
    from dataset_distillation.architectures import Weights
    from dataset_distillation.problem import Problem


@dataclass
class Random(Init):
    """Section 3.5, random initialization."""

    def population(self, problem: Problem, purpose: str, number: int, step: int = 0) -> list[Weights]:
        # One stream a network: network j is the same one however many are asked for.
        return [problem.draw(f"{purpose} {j}", step) for j in range(number)]
