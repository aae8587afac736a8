"""Gradient descent, the paper's inner optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.inner_optimizers import InnerOptimizer

if TYPE_CHECKING:
    import torch


@dataclass
class SGD(InnerOptimizer):
    """Eq 9: θ_{t+1} = θ_t − η̃_t ∇ℓ(x̃_t, θ_t)."""

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(parameters, lr=1.0)  # the rate of each step replaces this one
