"""AlexCifarNet, the paper's network for CIFAR-10."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture, square

if TYPE_CHECKING:
    from torch import nn


def _brightness() -> type[nn.Module]:
    """nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1), with a meta-gradient that costs a fifth less.

    torch's version sums over channels with three-dimensional pooling and computes a power, both slowly.
    """
    from torch import Tensor, nn

    class Brightness(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            channels = images.shape[-3]
            squares = nn.functional.pad(images.square(), (0, 0, 0, 0, 2, 1))  # channel c: c − 2 to c + 1
            first, *others = (squares.narrow(-3, start, channels) for start in range(4))
            total = sum(others, start=first)
            root = (1 + 0.001 / 9 / 4 * total).rsqrt()
            return images * (root * root.sqrt())  # to the power −3/4

    return Brightness


@dataclass
class AlexCifarNet(Architecture):
    """Krizhevsky's cuda-convnet (2012) in the form of the authors' code; 1,756,426 weights at 3×32×32.

    weights: how θ0 is drawn, as in every architecture.
    """

    def check(self, shape: tuple[int, int, int]) -> None:
        square("alexcifarnet", shape, [32])

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        brightness = _brightness()
        return nn.Sequential(
            nn.Conv2d(shape[0], 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), brightness(),
            nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), brightness(), nn.MaxPool2d(3, 2, padding=1),
            nn.Flatten(),
            nn.Linear(64 * 8 * 8, 384), nn.ReLU(),
            nn.Linear(384, 192), nn.ReLU(),
            nn.Linear(192, classes),
        )  # fmt: skip
