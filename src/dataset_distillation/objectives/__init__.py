"""The outer loss L, the inner loss ℓ, and what success means.

To add one: one file here with a dataclass derived from `Objective`, and one YAML in `conf/objective/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Outcome(NamedTuple):
    """The loss (scalar, with its graph) and the metrics (scalars, detached) of a batch."""

    loss: Tensor
    metrics: dict[str, Tensor]


@dataclass
class Objective:
    """What the distilled data are optimised for."""

    def training_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """ℓ(x̃, θ) of Eq 2, minimised by the inner steps: mean cross-entropy."""
        from torch.nn import functional

        return functional.cross_entropy(outputs, targets)

    def outcome(self, outputs: Tensor, targets: Tensor) -> Outcome:
        """L(θT; x, y) of Eq 3 on a real batch: outputs (n, classes), targets (n,)."""
        raise NotImplementedError
