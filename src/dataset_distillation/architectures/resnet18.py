"""ResNet18 for small images (He et al. 2016), as later papers evaluate across architectures with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.architectures.norms import Norm, Small, layers

if TYPE_CHECKING:
    from torch import nn


@dataclass
class ResNet18(Small):
    """Four stages of two residual blocks behind a 3×3 convolution with stride 1; 28 or 32 px.

    By default it has 11,173,962 weights at 3×32×32 and ten classes.

    weights: how θ0 is drawn, as in every architecture; by default as torch draws it, as in those papers.
    width: channels of the first stage; the others have 2, 4 and 8 times as many.
    norm: `instance`, `group` (4 groups), `batch` or `none`.

    Raises ConfigError if a value is not allowed.
    """

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        channels, size, _ = shape
        padding = 3 if size == 28 else 1  # MNIST's 28 pixels are padded to 32
        first = nn.Conv2d(channels, self.width, 3, padding=padding, bias=False)
        parts: list[nn.Module] = [first, *layers(self.norm, self.width), nn.ReLU()]
        before = self.width
        for times in (1, 2, 4, 8):
            for stride in (1 if times == 1 else 2, 1):
                parts += [_residual(self.norm, before, times * self.width, stride), nn.ReLU()]
                before = times * self.width
        return nn.Sequential(*parts, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(before, classes))


def _residual(norm: Norm, before: int, after: int, stride: int) -> nn.Module:
    """Return the sum of two convolutions and of a shortcut, without the ReLU behind it."""
    from torch import Tensor, nn

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.long = nn.Sequential(
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), *layers(norm, after),
                nn.ReLU(),
                nn.Conv2d(after, after, 3, padding=1, bias=False), *layers(norm, after),
            )  # fmt: skip
            short = [nn.Conv2d(before, after, 1, stride=stride, bias=False), *layers(norm, after)]
            self.short = nn.Sequential(*(short if before != after or stride > 1 else []))

        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = self.long(images) + self.short(images)
            return result

    return Sum()
