"""What a file of another project holds, before anybody has said what its numbers mean."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor


class Found(NamedTuple):
    """Images (steps, n, channels, height, width), labels (steps, n) or (steps, n, classes), as in the file.

    labels are None if the file has none: its images are ordered by class then, as many of each.
    `rates` (epochs, steps), `names` of the classes and `notes` for the user are there if the file says them.
    """

    images: Tensor
    labels: Tensor | None
    rates: Tensor | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def one_step(images: object, labels: object, *notes: str, rates: Tensor | None = None) -> Found:
    """Return a set whose images are all in one step. Raises ValueError unless these are images and labels."""
    images, labels = tensor(images, "images"), tensor(labels, "labels")
    if images.ndim != 4 or labels.ndim not in (1, 2) or len(images) != len(labels) or not images.numel():
        raise ValueError(
            f"images {tuple(images.shape)} and labels {tuple(labels.shape)}, not one label per image"
        )
    return Found(images[None], labels[None], rates, notes=notes)


def tensor(content: object, what: str) -> Tensor:
    """Return `content` on its own. Raises ValueError unless it is a tensor of finite numbers."""
    if not isinstance(content, Tensor):
        raise ValueError(f"its {what} are no tensor")
    if content.is_complex() or content.dtype == torch.bool:
        raise ValueError(f"its {what} are {content.dtype}")
    content = content.detach()
    if content.is_floating_point():
        content = content.float()
        if not content.isfinite().all():
            raise ValueError(f"its {what} are not all finite")
    return content


def rate(content: object) -> Tensor:
    """Return a learning rate as a scalar tensor. Raises ValueError unless it is one positive number."""
    number = content if isinstance(content, float) else content.item() if _is_one(content) else 0.0
    if not 0 < number < math.inf:
        raise ValueError("a learning rate is not one positive number")
    return torch.tensor(number)


def _is_one(content: object) -> TypeGuard[Tensor]:
    return isinstance(content, Tensor) and content.numel() == 1 and content.is_floating_point()
