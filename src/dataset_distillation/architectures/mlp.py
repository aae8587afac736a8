"""A multi-layer perceptron."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture
from dataset_distillation.errors import check_counts, count

if TYPE_CHECKING:
    from torch import nn


@dataclass
class MLP(Architecture):
    """A multi-layer perceptron with ReLU between its linear layers; 118,282 weights at 1×28×28.

    weights: how θ0 is drawn, as in every architecture.
    width: units per hidden layer.
    layers: the number of linear layers.

    Raises ConfigError if a value is not allowed.
    """

    width: int = count(128, most=100_000)
    layers: int = count(3, most=1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts("architecture", self)

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        network = nn.Sequential(nn.Flatten())
        widths = [math.prod(shape), *[self.width] * (self.layers - 1), classes]
        for fan_in, fan_out in pairwise(widths):
            network.extend([nn.Linear(fan_in, fan_out), nn.ReLU()])
        return network[:-1]
