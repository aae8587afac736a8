"""Gradient descent with momentum, optionally Nesterov's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation.errors import refuse
from dataset_distillation.inner_optimizers import InnerOptimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dataset_distillation.inner_optimizers import State


@dataclass
class Momentum(InnerOptimizer):
    """Gradient descent with momentum: v_{t+1} = μ v_t + g_t, θ_{t+1} = θ_t − η̃_t v_{t+1}.

    With nesterov: θ_{t+1} = θ_t − η̃_t (g_t + μ v_{t+1}).

    weight_decay: this times the weights is added to their gradient; 0 or more.
    momentum: μ, between 0 and 1.
    nesterov: whether the step looks ahead.

    Raises ConfigError if a value is not allowed.
    """

    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.momentum < 1:
            raise refuse(
                "inner_optimizer.momentum", self.momentum, "must be in (0, 1)", "or use inner_optimizer=sgd"
            )

    def build(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(
            parameters,
            lr=1.0,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )

    def state(self, weight: Tensor) -> State:
        return (weight.new_zeros(weight.shape),)

    def update(
        self, weight: Tensor, gradient: Tensor, state: State, learning_rate: Tensor, t: int
    ) -> tuple[Tensor, State]:
        gradient = self._decayed(weight, gradient)
        velocity = self.momentum * state[0] + gradient
        direction = gradient + self.momentum * velocity if self.nesterov else velocity
        return weight - learning_rate * direction, (velocity,)
