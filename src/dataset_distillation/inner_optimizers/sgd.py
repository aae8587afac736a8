"""Gradient descent, the paper's inner optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation.inner_optimizers import InnerOptimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dataset_distillation.inner_optimizers import State


@dataclass
class SGD(InnerOptimizer):
    """Gradient descent (Eq 9): θ_{t+1} = θ_t − η̃_t ∇ℓ(x̃_t, θ_t).

    weight_decay: this times the weights is added to their gradient; 0 or more.

    Raises ConfigError if a value is not allowed.
    """

    def build(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(parameters, lr=1.0, weight_decay=self.weight_decay)

    def update(
        self, weight: Tensor, gradient: Tensor, state: State, learning_rate: Tensor, t: int
    ) -> tuple[Tensor, State]:
        return weight - learning_rate * self._decayed(weight, gradient), state
