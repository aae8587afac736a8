"""Augmentations: images before they enter a network, as differentiable functions of the images.

An augmentation is a function of the images and of uniform numbers, which are drawn by name and step. It
stands outside of the inner step: an engine gets the augmented images, and autograd leads their gradients on
to the distilled ones. So it is exact in every engine, and no traced or compiled program holds any of it.

To add one: write one file here with a dataclass derived from `Augmentation`, and one YAML in
`conf/augmentation/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dataset_distillation.errors import chosen_by_name
from dataset_distillation.inner_optimizers import MadeSteps, Step
from dataset_distillation.randomness import stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Augmentation:
    """How images are changed at random before they enter a network; test images never are."""

    #: How many uniform numbers an image needs; 0: images stay as they are.
    numbers: ClassVar[int] = 0

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return the augmented images.

        images: (n, channels, height, width), square and normalized.
        draws: numbers in [0, 1), (n, `numbers`), or (1, `numbers`) if all images are to be changed alike.
        """
        raise NotImplementedError

    def images(self, images: Tensor, seed: int, purpose: str, step: int = 0) -> Tensor:
        """Return images (..., n, channels, height, width) changed by the draws of this name.

        The dimensions before n are of several networks, whose images are changed alike.
        """
        if not self.numbers:
            return images
        flat, draws = images.flatten(0, -4), self._draws(images.shape[-4], seed, purpose, step)
        return self._precisely(flat, draws.repeat(len(flat) // len(draws), 1)).view_as(images)

    def alike(self, images: Tensor, seed: int, purpose: str, step: int = 0) -> Tensor:
        """Return images (n, channels, height, width) that are all changed by the one draw of this name."""
        if not self.numbers:
            return images
        return self._precisely(images, self._draws(1, seed, purpose, step))

    def _precisely(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return the augmented images, computed in single precision or better, whatever surrounds this.

        In bfloat16 a draw of 0.999 is 1, and coordinates are off by up to a pixel.
        """
        import torch

        precision = torch.promote_types(images.dtype, torch.float32)
        with torch.autocast(images.device.type, enabled=False):
            return self.apply(images.to(precision), draws.to(images.device, precision)).to(images.dtype)

    def _draws(self, number: int, seed: int, purpose: str, step: int) -> Tensor:
        import torch

        return torch.rand(number, self.numbers, generator=stream(seed, purpose, step))

    def steps(self, steps: Sequence[Step], seed: int, purpose: str) -> Sequence[Step]:
        """Return inner steps whose images are changed, each by draws of its own, when they are asked for."""
        if not self.numbers:
            return steps

        def make(t: int) -> Step:
            step = steps[t]
            return step._replace(images=self.images(step.images, seed, purpose, t))

        return MadeSteps(make, range(len(steps)))


def of_network(number: int) -> str:
    """The purpose of the draws with which network `number` is trained outside of the meta-gradient."""
    return f"augmentation of network {number}"


def by_name(name: str, options: Mapping[str, Any]) -> Augmentation:
    """Return the augmentation of the file `name`. Raises ValueError if there is none with such options."""
    return chosen_by_name(__name__, __path__, Augmentation, name, options)
