"""A fresh sample of p(θ0) for each outer step; held-out samples in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.init import Init

if TYPE_CHECKING:
    from dataset_distillation.architectures import Weights
    from dataset_distillation.init import Draw


@dataclass
class Random(Init):
    """Section 3.5, random initialization."""

    def population(self, draw: Draw, seed: int, purpose: str, step: int, number: int) -> list[Weights]:
        from dataset_distillation.randomness import stream

        # One stream a network: network j is the same one however many are asked for.
        return [draw(stream(seed, f"{purpose} {j}", step)) for j in range(number)]
