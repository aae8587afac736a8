"""ConvNet, the network that later papers on dataset distillation use for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dataset_distillation.architectures.norms import Normed, layers
from dataset_distillation.errors import count, member, refuse

if TYPE_CHECKING:
    from torch import nn


class Pooling(StrEnum):
    """How a block halves the image."""

    average = "average"
    max = "max"
    none = "none"


@dataclass
class ConvNet(Normed):
    """`depth` blocks of 3×3 convolution, norm, ReLU and 2×2 pooling (Gidaris & Komodakis 2018).

    By default it has 320,010 weights at 3×32×32, as in Zhao et al. 2021 (dataset condensation).

    weights: how θ0 is drawn, as in every architecture; by default as torch draws it, as in those papers.
    depth: the number of blocks; each halves the image by its pooling.
    width: channels per block.
    norm: `instance`, `group` (4 groups), `batch` or `none`.
    pooling: `average`, `max`, or `none`, which leaves the image as large as it is.

    Raises ConfigError if a value is not allowed.
    """

    depth: int = count(3, most=12)
    width: int = count(128, most=100_000)
    pooling: Pooling = Pooling.average

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pooling = member("architecture.pooling", self.pooling, Pooling)

    def check(self, shape: tuple[int, int, int]) -> None:
        size = 32 if shape[1] == 28 else shape[1]  # as `build` pads them
        if self.pooling != "none" and size < 2**self.depth:
            raise refuse(
                "dataset.image_size", shape[1],
                f"architecture=convnet halves images {self.depth} times and needs {2**self.depth} or more",
                f"enlarge dataset.image_size or set architecture.depth={size.bit_length() - 1}",
            )  # fmt: skip

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        channels, size, _ = shape
        blocks: list[nn.Module] = []
        for block in range(self.depth):
            # MNIST's 28 pixels are padded to 32, as in LeNet, so that they can be halved.
            padding = 3 if block == 0 and size == 28 else 1
            size = size + 2 * padding - 2
            blocks += [nn.Conv2d(channels, self.width, 3, padding=padding), *layers(self.norm, self.width)]
            blocks += [nn.ReLU()]
            if self.pooling != "none":
                blocks += [nn.AvgPool2d(2) if self.pooling == "average" else nn.MaxPool2d(2)]
                size //= 2
            channels = self.width
        return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels * size * size, classes))
