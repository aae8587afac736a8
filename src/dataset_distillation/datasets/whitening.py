"""ZCA whitening: images whose pixels are uncorrelated over the train split, and still look like images.

Let x be a normalized image as a vector of d numbers, μ and C mean and covariance of these over the train
split, and C = U diag(λ) Uᵀ. The whitened image is W (x − μ) with W = U diag((λ + ε)^−½) Uᵀ, where ε is the
regularization, and x = W⁻¹ (whitened) + μ with W⁻¹ = U diag((λ + ε)^½) Uᵀ (Krizhevsky 2009, appendix A).

`zca_per_image` does this to u = (x − m) / |x − m| instead of x, where m is the mean of the image's own d
numbers. Then μ is 0, C the mean of u uᵀ, and ε the regularization times the mean of λ, as KIP (Nguyen et al.,
2021) and RaT-BPTT (Feng et al., 2023) whiten. W⁻¹ gives back u, which has lost brightness and contrast; the
image is shown with those of the mean train image.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dataset_distillation.run.machine import check_room

if TYPE_CHECKING:
    from torch import Tensor


class Whitening(StrEnum):
    """Whether images are whitened."""

    none = "none"
    zca = "zca"
    zca_per_image = "zca_per_image"


@dataclass(frozen=True)
class ZCA:
    """A fitted whitening: μ (d,), W and W⁻¹ (d, d), and the checksum of what they were fitted on.

    brightness, contrast: m and |x − m| of the mean train image, for `undo` of `zca_per_image`.
    """

    kind: Whitening
    mean: Tensor
    matrix: Tensor
    inverse: Tensor
    regularization: float
    train_checksum: str
    brightness: float = 0.0
    contrast: float = 1.0

    @classmethod
    def fit(
        cls, kind: Whitening, batches: Iterable[Tensor], shape: tuple[int, int, int], regularization: float
    ) -> ZCA:
        """Fit it on batches of normalized images (n, *shape).

        Raises ConfigError if the matrices do not fit the free memory.
        """
        import torch

        per_image, d, number, levels = kind == Whitening.zca_per_image, math.prod(shape), 0, torch.zeros(2)
        check_room("dataset.image_size", shape[1], 6 * 8 * d**2, "whitening")
        total = torch.zeros(d, dtype=torch.float64)
        products, digest = torch.zeros(d, d, dtype=torch.float64), hashlib.sha256()
        # The pixels are normalized, so that their means are near 0 and little is lost by the subtraction.
        for batch in batches:
            images, number = batch.flatten(1), number + len(batch)
            digest.update(images.numpy().data)
            if per_image:
                images, *own = _units(images)
                levels += torch.stack([level.sum() for level in own])
            total += images.sum(0, dtype=torch.float64)
            products += images.T @ images
        # Units have the mean 0 each, not that of all of them; those who whiten so subtract no other.
        mean = torch.zeros_like(total) if per_image else total / number
        covariance = products / number - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp(min=0)
        roots = (values + regularization * (values.mean() if per_image else 1.0)).sqrt()
        matrices = [(vectors * scale) @ vectors.T for scale in (1 / roots, roots)]
        matrix, inverse = (matrix.float() for matrix in matrices)
        seen = (levels / number).tolist() if per_image else ()
        return cls(kind, mean.float(), matrix, inverse, regularization, digest.hexdigest(), *seen)

    @property
    def described(self) -> dict[str, str | float]:
        """The metadata of what is whitened by it: from the same train split, anybody fits it again."""
        kind, regularization = str(self.kind), self.regularization
        return {"kind": kind, "regularization": regularization, "train_checksum": self.train_checksum}

    @property
    def stored(self) -> dict[str, Tensor]:
        """What whitens the images of others; of CIFAR-10 the matrix has 38 MB."""
        return {"mean": self.mean, "matrix": self.matrix}

    def apply(self, images: Tensor) -> Tensor:
        """Return normalized images (..., channels, height, width), whitened."""
        return whitened(images, self.kind, self.mean, self.matrix)

    def undo(self, images: Tensor) -> Tensor:
        """Return whitened images (..., channels, height, width) as they were, normalized."""
        x = images.flatten(-3) @ self.inverse.to(images) + self.mean.to(images)
        return (x * self.contrast + self.brightness).view_as(images)


def whitened(images: Tensor, kind: str, mean: Tensor, matrix: Tensor) -> Tensor:
    """Return normalized images (..., channels, height, width), whitened by what a `ZCA` has `stored`."""
    import torch

    x = images.flatten(-3)
    if kind == Whitening.zca_per_image:
        x, *_ = _units(x)
    with torch.autocast(images.device.type, enabled=False):  # of a training step, which is for its network
        return ((x - mean.to(images)) @ matrix.to(images)).view_as(images)


def _units(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return u = (x − m) / |x − m|, m and |x − m| of images (..., d); u is 0 where an image is constant."""
    m = x.mean(-1, keepdim=True)
    norm = (x - m).norm(dim=-1, keepdim=True)
    return (x - m) / norm.clamp(min=1e-12), m, norm
