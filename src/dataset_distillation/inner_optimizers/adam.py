"""Adam."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataset_distillation.errors import positive, refuse
from dataset_distillation.inner_optimizers import InnerOptimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dataset_distillation.inner_optimizers import State


@dataclass
class Adam(InnerOptimizer):
    """Kingma & Ba 2015, with the moments m and v starting at 0 before the first inner step.

    The first steps are close to η̃ sign(g): the meta-gradient is exact, but it is that of a function that is
    barely smooth where a gradient is near 0.

    weight_decay: this times the weights is added to their gradient; 0 or more.
    betas: the decay rates of m and v, each in [0, 1).
    eps: added to √v, greater than 0.

    Raises ConfigError if a value is not allowed.
    """

    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise refuse("inner_optimizer.betas", self.betas, "must be two numbers in [0, 1)")
        positive("inner_optimizer.eps", self.eps)

    def build(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        import torch

        betas = (self.betas[0], self.betas[1])
        return torch.optim.Adam(parameters, lr=1.0, betas=betas, eps=self.eps, weight_decay=self.weight_decay)

    def state(self, weight: Tensor) -> State:
        return weight.new_zeros(weight.shape), weight.new_zeros(weight.shape)

    def update(
        self, weight: Tensor, gradient: Tensor, state: State, learning_rate: Tensor, t: int
    ) -> tuple[Tensor, State]:
        (m, v), (beta1, beta2) = state, self.betas
        gradient = self._decayed(weight, gradient)
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient * gradient
        # √v has no derivative at v = 0, as for the weights of a dead unit: there it is treated as a constant.
        root = v.masked_fill(v == 0, 0.0).sqrt()
        denominator = root / (1 - beta2**t) ** 0.5 + self.eps
        return weight - learning_rate / (1 - beta1**t) * m / denominator, (m, v)
