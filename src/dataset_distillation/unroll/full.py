"""The whole graph of all inner steps, through `higher`: the reference engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.unroll import Unroll

if TYPE_CHECKING:
    from torch import nn

    from dataset_distillation.architectures import Weights
    from dataset_distillation.inner_optimizers import InnerOptimizer, Step
    from dataset_distillation.unroll import Loss


@dataclass
class Full(Unroll):
    """Sec 3.4: back-propagation through all steps. Memory grows with the number of steps."""

    def unroll(
        self,
        network: nn.Module,
        weights: Weights,
        steps: Iterable[Step],
        optimizer: InnerOptimizer,
        loss: Loss,
    ) -> Weights:
        import higher

        parameters = list(network.parameters())
        functional = higher.monkeypatch(network, copy_initial_weights=True)
        differentiable = higher.get_diff_optim(optimizer.build(parameters), parameters, fmodel=functional)
        # A parameter that the network's author froze is not trained here either.
        functional.update_params(
            [weights[name].requires_grad_(p.requires_grad) for name, p in network.named_parameters()]
        )
        for images, labels, learning_rate in steps:
            differentiable.step(loss(functional(images), labels), override={"lr": [learning_rate]})
        return dict(zip(weights, functional.fast_params, strict=True))
