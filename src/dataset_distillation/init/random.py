"""A fresh sample of p(θ0) for each outer step; held-out samples in evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.architectures import Weights
from dataset_distillation.init import Init, Origin


@dataclass
class Random(Init):
    """Section 3.5, random initialization.

    All weights are drawn anew by the architecture's scheme (`weights`, Xavier's by default). The values
    that a network of your own had are not used: only its shapes are.
    """

    def population(self, origin: Origin, purpose: str, number: int, step: int = 0) -> list[Weights]:
        # One stream per network: network j is the same one however many are asked for.
        return [origin.draw(f"{purpose} {j}", step) for j in range(number)]
