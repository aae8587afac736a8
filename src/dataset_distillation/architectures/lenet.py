"""LeNet, the paper's network for MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture, square

if TYPE_CHECKING:
    from torch import nn


@dataclass
class LeNet(Architecture):
    """LeCun et al. 1998 in the form of the authors' code: ReLU and max-pooling; 61,706 weights at 1×28×28.

    Images must be 28×28 or 32×32.

    weights: how θ0 is drawn, as in every architecture.
    """

    def check(self, shape: tuple[int, int, int]) -> None:
        square("lenet", shape, [28, 32])

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        # LeCun's network has 32×32 inputs; 28×28 images are padded to that.
        padding = 2 if shape[1] == 28 else 0
        return nn.Sequential(
            nn.Conv2d(shape[0], 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120), nn.ReLU(),
            nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, classes),
        )  # fmt: skip
