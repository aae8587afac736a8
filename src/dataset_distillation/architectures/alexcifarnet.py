"""AlexCifarNet, the paper's network for CIFAR-10."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture, square

if TYPE_CHECKING:
    from torch import nn


@dataclass
class AlexCifarNet(Architecture):
    """Krizhevsky's cuda-convnet (2012) in the form of the authors' code; 1,756,426 weights at 3×32×32."""

    def check(self, shape: tuple[int, int, int]) -> None:
        square("alexcifarnet", shape, [32])

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        def brightness() -> nn.Module:
            return nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1)

        return nn.Sequential(
            nn.Conv2d(shape[0], 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), brightness(),
            nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), brightness(), nn.MaxPool2d(3, 2, padding=1),
            nn.Flatten(),
            nn.Linear(64 * 8 * 8, 384), nn.ReLU(),
            nn.Linear(384, 192), nn.ReLU(),
            nn.Linear(192, classes),
        )  # fmt: skip
