"""ZCA whitening: images whose pixels are uncorrelated over the train split, and still look like images.

Let x be a normalized image as a vector of d numbers, μ and C mean and covariance of these over the train
split, and C = U diag(λ) Uᵀ. The whitened image is W (x − μ) with W = U diag((λ + ε)^−½) Uᵀ, where ε is the
regularization, and x = W⁻¹ (whitened) + μ with W⁻¹ = U diag((λ + ε)^½) Uᵀ (Krizhevsky 2009, appendix A).
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


@dataclass(frozen=True)
class ZCA:
    """A fitted whitening: μ (d,), W and W⁻¹ (d, d), ε, and the checksum of what they were fitted on."""

    mean: Tensor
    matrix: Tensor
    inverse: Tensor
    regularization: float
    train_checksum: str

    @classmethod
    def fit(cls, batches: Iterable[Tensor], shape: tuple[int, int, int], regularization: float) -> ZCA:
        """Fit it on batches of normalized images (n, *shape).

        Raises ConfigError if the matrices do not fit the free memory.
        """
        import torch

        d, number = math.prod(shape), 0
        check_room("dataset.image_size", shape[1], 6 * 8 * d**2, "whitening")
        total = torch.zeros(d, dtype=torch.float64)
        products, digest = torch.zeros(d, d, dtype=torch.float64), hashlib.sha256()
        # The pixels are normalized, so that their means are near 0 and little is lost by the subtraction.
        for batch in batches:
            images, number = batch.flatten(1), number + len(batch)
            digest.update(images.numpy().data)
            total += images.sum(0, dtype=torch.float64)
            products += images.T @ images
        mean = total / number
        covariance = products / number - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        roots = (values.clamp(min=0) + regularization).sqrt()
        matrices = [(vectors * scale) @ vectors.T for scale in (1 / roots, roots)]
        matrix, inverse = (matrix.float() for matrix in matrices)
        return cls(mean.float(), matrix, inverse, regularization, digest.hexdigest())

    @property
    def described(self) -> dict[str, str | float]:
        """The metadata of what is whitened by it: from the same train split, anybody fits it again."""
        return {
            "kind": "zca", "regularization": self.regularization, "train_checksum": self.train_checksum,
        }  # fmt: skip

    def apply(self, images: Tensor) -> Tensor:
        """Return normalized images (..., channels, height, width), whitened."""
        centered = images.flatten(-3) - self.mean.to(images)
        return (centered @ self.matrix.to(images)).view_as(images)

    def undo(self, images: Tensor) -> Tensor:
        """Return whitened images (..., channels, height, width) as they were, normalized."""
        return (images.flatten(-3) @ self.inverse.to(images) + self.mean.to(images)).view_as(images)
