"""Small shifts and rotations, for digits, which a mirror would make other signs of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.augmentation import Augmentation
from dataset_distillation.augmentation.affine import around, rotation, warped
from dataset_distillation.errors import at_least

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class ShiftRotate(Augmentation):
    """Each image is shifted by up to `pixels` along each axis, and turned by up to `degrees` to either side.

    pixels: the largest shift, 0 or more; fractions of a pixel are bilinear.
    degrees: the largest angle, 0 or more; what is uncovered is filled with the image's border.

    Raises ConfigError if a value is not allowed.
    """

    numbers: ClassVar[int] = 3

    pixels: float = 2.0
    degrees: float = 10.0

    def __post_init__(self) -> None:
        at_least("augmentation.pixels", self.pixels, 0)
        at_least("augmentation.degrees", self.degrees, 0)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        draws = draws.expand(len(images), -1)
        matrix = rotation(around(draws[:, 2], self.degrees))
        return warped(images, matrix, around(draws[:, :2], self.pixels))
