"""Mirror images and small rotations, for photographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.augmentation import Augmentation
from dataset_distillation.augmentation.affine import around, flipped, rotation, warped
from dataset_distillation.errors import at_least

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class FlipRotate(Augmentation):
    """Every other image is mirrored, and each is turned by up to `degrees` to either side.

    degrees: the largest angle, 0 or more; what a rotation uncovers is filled with the image's border.

    Raises ConfigError if a value is not allowed.
    """

    numbers: ClassVar[int] = 2

    degrees: float = 15.0

    def __post_init__(self) -> None:
        at_least("augmentation.degrees", self.degrees, 0)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        draws = draws.expand(len(images), -1)
        return warped(flipped(images, draws[:, 0]), rotation(around(draws[:, 1], self.degrees)))
