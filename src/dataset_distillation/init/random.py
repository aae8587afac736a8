"""A fresh sample of p(θ0) for each outer step; held-out samples in evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.architectures import Weights
from dataset_distillation.init import Init, Origin


@dataclass
class Random(Init):
    """Random initialization (Section 3.5): each outer step draws new weights.

    All weights are drawn anew by the architecture's scheme (`weights`, Xavier's by default). Of a network of
    your own only the shapes are used, not the values of its weights.

    networks: how many networks each outer step draws and trains.

    Raises ConfigError if it is less than 1.
    """

    def population(self, origin: Origin, purpose: str, number: int, step: int = 0) -> list[Weights]:
        # One stream per network: network j is the same for every `number` of networks.
        return [origin.draw(f"{purpose} {j}", step) for j in range(number)]
