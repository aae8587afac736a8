"""Differentiable Siamese augmentation (Zhao & Bilen 2021, arXiv 2102.08259)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.augmentation import Augmentation
from dataset_distillation.augmentation.affine import around, flipped, rotation, warped
from dataset_distillation.errors import one_of, refuse

if TYPE_CHECKING:
    from torch import Tensor

# The strengths of the authors' code, which are the same for all data sets.
SATURATION, CONTRAST = 2.0, 0.5
CROP, CUTOUT = 0.125, 0.5  # shares of the image's size
SCALE, DEGREES = 1.2, 15.0


def color(images: Tensor, draws: Tensor) -> Tensor:
    """Brightness ± 0.5, then saturation times 0 to 2, then contrast times 0.5 to 1.5."""
    brightness, saturation, contrast = draws[:, :3].view(-1, 3, 1, 1, 1).unbind(1)
    images = images + (brightness - 0.5)
    gray = images.mean(dim=1, keepdim=True)
    images = (images - gray) * (SATURATION * saturation) + gray
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (CONTRAST + contrast) + mean


def crop(images: Tensor, draws: Tensor) -> Tensor:
    """Shifted by up to an eighth of the size, in whole pixels; zeros come from outside."""
    import torch

    most = int(images.shape[-1] * CROP + 0.5)
    shift = (draws[:, :2] * (2 * most + 1)).floor() - most
    same = torch.eye(2).to(images).expand(len(images), 2, 2)
    return warped(images, same, shift, padding="zeros")


def cutout(images: Tensor, draws: Tensor) -> Tensor:
    """Zeros in a square of half the size, whose middle may lie anywhere in the image."""
    import torch

    size = images.shape[-1]
    side = int(size * CUTOUT + 0.5)
    begin = (draws[:, :2] * (size + 1 - side % 2)).floor() - side // 2
    cells = torch.arange(size).to(images)
    inside = (cells >= begin.unsqueeze(-1)) & (cells < begin.unsqueeze(-1) + side)  # (n, axis, size)
    return images * ~(inside[:, 1, :, None] & inside[:, 0, None, :]).unsqueeze(1)


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Every other image as in a mirror."""
    return flipped(images, draws[:, 0])


def scale(images: Tensor, draws: Tensor) -> Tensor:
    """Width and height divided by factors between 1 / 1.2 and 1.2; zeros come from outside."""
    import torch

    factors = draws[:, :2] * (SCALE - 1 / SCALE) + 1 / SCALE
    return warped(images, torch.diag_embed(factors), padding="zeros")


def rotate(images: Tensor, draws: Tensor) -> Tensor:
    """Turned by up to 15 degrees to either side; zeros come from outside."""
    return warped(images, rotation(around(draws[:, 0], DEGREES)), padding="zeros")


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    function.__name__: function for function in (color, crop, cutout, flip, scale, rotate)
}


@dataclass
class DSA(Augmentation):
    """One of the `operations`, drawn anew for each batch, with parameters drawn for each image.

    Gradient matching gives the real and the distilled images of a class the same draw (`alike`).

    operations: what may be drawn: `color`, `crop`, `cutout`, `flip`, `scale`, `rotate`; digits without flip.

    Raises ConfigError if a value is not allowed.
    """

    numbers: ClassVar[int] = 4  # the first one chooses

    operations: list[str] = field(default_factory=lambda: list(OPERATIONS))

    def __post_init__(self) -> None:
        for name in self.operations:
            one_of("augmentation.operations", name, OPERATIONS)
        if not self.operations:
            raise refuse("augmentation.operations", [], "is empty", "use augmentation=none")

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        chosen = self.operations[int(float(draws[0, 0]) * len(self.operations))]
        return OPERATIONS[chosen](images, draws[:, 1:].expand(len(images), -1))
