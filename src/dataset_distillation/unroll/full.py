"""The reference engine: the whole graph of all inner steps, through `higher`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import refuse
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.inner_optimizers.adam import Adam
from dataset_distillation.unroll import Unroll

if TYPE_CHECKING:
    from dataset_distillation.inner.step import InnerTraining


@dataclass
class Full(Unroll):
    """Back-propagation through all inner steps (Section 3.4); its memory grows with the number of steps.

    batch_networks: as in every engine.
    compile: must be False, since a graph of `higher` cannot be compiled.

    Raises ConfigError if a value is not allowed.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compile:
            allowed = "must be false with unroll=full: a graph of higher cannot be compiled"
            raise refuse("unroll.compile", True, allowed, "use unroll=recompute")

    def unroll(self, training: InnerTraining, steps: Sequence[Step]) -> Weights:
        import higher

        leaves = [training.weights[name].detach().requires_grad_() for name in training.names]
        # One parameter group per weight, so that each can have its rate in its own shape.
        optimizer = training.optimizer.build([{"params": [leaf]} for leaf in leaves])
        _correct_adam()
        differentiable = higher.get_diff_optim(optimizer, leaves)
        start = (training.weights[name] for name in training.names)
        point = [weight if weight.requires_grad else leaf for weight, leaf in zip(start, leaves, strict=True)]
        for images, labels, learning_rate in steps:
            value = training.value(training.weights_at(point), images, labels)
            rates = [training.rate(learning_rate, weight) for weight in point]
            point = differentiable.step(value, params=point, override={"lr": rates})
        return training.weights_at(point)


@functools.cache
def _correct_adam() -> None:
    """Register an Adam with `higher` that agrees with torch's.

    The Adam of higher 0.2.1 adds eps before the bias correction, torch after it: the meta-gradient of ten
    steps has twice the right norm. Its main branch has corrected that, but no release has.
    """
    import higher
    import torch

    class DifferentiableAdam(higher.optim.DifferentiableOptimizer):
        def _update(self, grouped_grads: Any, **_: Any) -> None:
            for group, states, gradients in zip(self.param_groups, self.state, grouped_grads, strict=True):
                adam = Adam(group["weight_decay"], list(group["betas"]), group["eps"])
                for i, (weight, gradient) in enumerate(zip(group["params"], gradients, strict=True)):
                    if gradient is None:
                        continue
                    t, state = states[i].get("t", 0) + 1, states[i].get("state") or adam.state(weight)
                    updated, state = adam.update(weight, gradient, state, group["lr"], t)
                    group["params"][i], states[i] = updated, {"t": t, "state": state}

    higher.register_optim(torch.optim.Adam, DifferentiableAdam)
