"""ConvNet, the network that later papers on dataset distillation use for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture
from dataset_distillation.errors import check_counts, count, member, refuse

if TYPE_CHECKING:
    from torch import nn


class Norm(StrEnum):
    """The normalization of the channels in a block."""

    instance = "instance"
    group = "group"
    batch = "batch"
    none = "none"


GROUPS = 4  # for norm=group, as in the code of Zhao et al.


@dataclass
class ConvNet(Architecture):
    """`depth` blocks of 3×3 convolution, norm, ReLU and 2×2 average pooling (Gidaris & Komodakis 2018).

    By default it has 320,010 weights at 3×32×32, as in Zhao et al. 2021 (dataset condensation).

    weights: how θ0 is drawn, as in every architecture.
    depth: the number of blocks; each halves the image.
    width: channels per block.
    norm: `instance`, `group` (4 groups), `batch` or `none`.

    Raises ConfigError if a value is not allowed.
    """

    depth: int = count(3, most=12)
    width: int = count(128, most=100_000)
    norm: Norm = Norm.instance

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts("architecture", self)
        self.norm = member("architecture.norm", self.norm, Norm)
        if self.norm == "group" and self.width % GROUPS:
            raise refuse("architecture.width", self.width, f"must be a multiple of {GROUPS} with norm=group")

    def check(self, shape: tuple[int, int, int]) -> None:
        if shape[1] < 2**self.depth:
            raise refuse(
                "dataset.image_size", shape[1],
                f"architecture=convnet halves images {self.depth} times and needs {2**self.depth} or more",
                f"enlarge dataset.image_size or set architecture.depth={shape[1].bit_length() - 1}",
            )  # fmt: skip

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        channels, size, _ = shape
        blocks: list[nn.Module] = []
        for block in range(self.depth):
            # MNIST's 28 pixels are padded to 32, as in LeNet, so that they can be halved.
            padding = 3 if block == 0 and size == 28 else 1
            size = (size + 2 * padding - 2) // 2
            blocks += [nn.Conv2d(channels, self.width, 3, padding=padding), *self._norm()]
            blocks += [nn.ReLU(), nn.AvgPool2d(2)]
            channels = self.width
        return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels * size * size, classes))

    def _norm(self) -> list[nn.Module]:
        from torch import nn

        if self.norm == "none":
            return []
        if self.norm == "batch":
            # Running statistics would be a state beside the weights, which no gradient crosses.
            return [nn.BatchNorm2d(self.width, track_running_stats=False)]
        # One group per channel is InstanceNorm with scales; GroupNorm works alike in training and evaluation.
        return [nn.GroupNorm(self.width if self.norm == "instance" else GROUPS, self.width)]
