"""VGG11 for small images (Simonyan & Zisserman 2015), as later papers evaluate across architectures with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.architectures.norms import Small, layers

if TYPE_CHECKING:
    from torch import nn


@dataclass
class VGG11(Small):
    """Eight 3×3 convolutions in five blocks, each halved by max-pooling, and a linear layer; 28 or 32 px.

    By default it has 9,231,114 weights at 3×32×32 and ten classes.

    weights: how θ0 is drawn, as in every architecture; by default as torch draws it, as in those papers.
    width: channels of the first block; the others have 2, 4, 8 and 8 times as many.
    norm: `instance`, `group` (4 groups), `batch` or `none`, before each ReLU.

    Raises ConfigError if a value is not allowed.
    """

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        channels, size, _ = shape
        parts: list[nn.Module] = []
        for block in ((1,), (2,), (4, 4), (8, 8), (8, 8)):
            for times in block:
                padding = 3 if size == 28 and not parts else 1  # MNIST's 28 pixels are padded to 32
                width = times * self.width
                parts += [nn.Conv2d(channels, width, 3, padding=padding), *layers(self.norm, width)]
                parts += [nn.ReLU()]
                channels = width
            parts.append(nn.MaxPool2d(2))
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(channels, classes))
