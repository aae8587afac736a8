"""θ0 → θT and how gradients cross it. The only place that knows `higher`.

To add an engine: one file here with a dataclass derived from `Unroll`, and one YAML in `conf/unroll/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataset_distillation.architectures import Weights
    from dataset_distillation.inner_optimizers import InnerOptimizer, Step

    Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Unroll:
    """An engine for θT as a differentiable function of the distilled data."""

    def unroll(
        self,
        network: nn.Module,
        weights: Weights,
        steps: Iterable[Step],
        optimizer: InnerOptimizer,
        loss: Loss,
    ) -> Weights:
        """θT after `steps` from θ0 = `weights`; differentiable in the steps' images and learning rates.

        `network` gives the form; its own parameters are neither read nor changed.
        """
        raise NotImplementedError
