"""The AlexNet for small images that later papers evaluate across architectures with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.architectures.norms import Norm, Small, layers
from dataset_distillation.errors import count, refuse

if TYPE_CHECKING:
    from torch import nn


@dataclass
class AlexNet32(Small):
    """Five convolutions, three of them before a max-pooling, and a linear layer; 28 or 32 px.

    By default it has 1,872,202 weights at 3×32×32 and ten classes, as in Zhao et al. 2021.

    weights: how θ0 is drawn, as in every architecture; by default as torch draws it, as in those papers.
    width: channels of the first convolution, an even number; those behind it have 1.5, 2, 1.5 and 1.5 times
        as many.
    norm: `none`, as in that paper, `instance`, `group` (4 groups) or `batch`.

    Raises ConfigError if a value is not allowed.
    """

    width: int = count(128, most=100_000)
    norm: Norm = Norm.none

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % 2:
            raise refuse("architecture.width", self.width, "must be even")
        if self.norm == "group" and self.width % 8:  # 1.5 times as many channels are in four groups, too
            raise refuse("architecture.width", self.width, "must be a multiple of 8 with norm=group")

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        channels, size, _ = shape
        one, more, most = self.width, 3 * self.width // 2, 2 * self.width
        # (channels, size of the kernel, whether a pooling follows); MNIST's 28 pixels are padded to 32.
        plan = [(one, 5, True), (more, 5, True), (most, 3, False), (more, 3, False), (more, 3, True)]
        parts: list[nn.Module] = []
        for width, kernel, pooled in plan:
            padding = kernel // 2 + (2 if size == 28 and not parts else 0)
            parts += [nn.Conv2d(channels, width, kernel, padding=padding), *layers(self.norm, width)]
            parts += [nn.ReLU(), *([nn.MaxPool2d(2)] if pooled else [])]
            channels = width
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(channels * 4 * 4, classes))
