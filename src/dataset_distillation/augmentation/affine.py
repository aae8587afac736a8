"""Affine maps of images, which several augmentations use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def around(draws: Tensor, most: float) -> Tensor:
    """Map numbers in [0, 1) to [-most, most)."""
    return (2 * draws - 1) * most


def rotation(degrees: Tensor) -> Tensor:
    """Return the matrices (n, 2, 2) that turn by `degrees` (n,)."""
    import torch

    cosine, sine = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    return torch.stack([cosine, -sine, sine, cosine], dim=-1).view(-1, 2, 2)


def warped(images: Tensor, matrix: Tensor, shift: Tensor | None = None, padding: str = "border") -> Tensor:
    """Return images (n, channels, size, size) whose pixel at (x, y) is what was at matrix · (x, y) + shift.

    Coordinates are relative to the center; between pixels the image is bilinear.

    matrix: (n, 2, 2).
    shift: (n, 2), in pixels, to the right and down.
    padding: what is beyond the image: its `border`, or `zeros`.
    """
    from torch.nn import functional

    shift = images.new_zeros(len(images), 2) if shift is None else shift * 2 / images.shape[-1]
    theta = matrix.new_empty(len(images), 2, 3)
    theta[:, :, :2], theta[:, :, 2] = matrix, shift
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def flipped(images: Tensor, draws: Tensor) -> Tensor:
    """Return the images (n, channels, height, width), every other one, by `draws` (n,), as in a mirror."""
    import torch

    return torch.where((draws < 0.5).view(-1, 1, 1, 1), images.flip(-1), images)
