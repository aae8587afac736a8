"""One inner step as a function, and its vector-Jacobian product: the parts of the unroll engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dataset_distillation.architectures import Weights
from dataset_distillation.inner_optimizers import InnerOptimizer, Step

Loss = Callable[[Tensor, Tensor], Tensor]

#: The state of the inner training: the trained weights, then the optimizer's state of each weight.
Point = list[Tensor]


class Linearization(Protocol):
    """How an inner step is made, and what is kept of it for its vector-Jacobian product."""

    def there(
        self, training: InnerTraining, point: Point, step: Step, t: int
    ) -> tuple[Point, Sequence[Tensor]]:
        """Return the point after inner step number `t`, without a graph, and what `back` needs."""

    def back(
        self, training: InnerTraining, kept: Sequence[Tensor], step: Step, t: int, adjoint: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """Return `adjoint` times the Jacobian of step `t`, as `vector_jacobian` does."""


@dataclass(frozen=True)
class InnerTraining:
    """The training of one network on distilled data, from θ0 = `weights`.

    `network` gives θ its form; its own parameters are neither read nor changed. A parameter that the
    network's author froze stays as it is in θ0.
    """

    network: nn.Module
    weights: Weights
    optimizer: InnerOptimizer
    loss: Loss
    by: Linearization | None = None  # an engine's programs, which outlast the outer steps

    @cached_property
    def names(self) -> list[str]:
        """The names of the weights that are trained."""
        return [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]

    @cached_property
    def frozen(self) -> Weights:
        return {name: weight for name, weight in self.weights.items() if name not in self.names}

    def start(self) -> Point:
        """The state before the first step: θ0 and the optimizer's initial state."""
        trained = [self.weights[name] for name in self.names]
        return trained + [tensor for weight in trained for tensor in self.optimizer.state(weight.detach())]

    def weights_at(self, point: Point) -> Weights:
        return self.frozen | dict(zip(self.names, point, strict=False))

    def value(self, weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
        """ℓ(x̃, θ), a scalar."""
        with attention_by_math():
            return self.loss(functional_call(self.network, weights, (images,)), labels)

    def rate(self, learning_rate: Tensor, weight: Tensor) -> Tensor:
        """The learning rate in a shape that broadcasts against `weight`."""
        return learning_rate

    def step(self, point: Point, step: Step, t: int, graph: bool = True) -> Point:
        """Return the point after inner step number `t` (from 1); the weights in `point` must require grad.

        With `graph`, the result is differentiable in every tensor that requires grad, including `point`.
        """
        weights, states = point[: len(self.names)], point[len(self.names) :]
        value = self.value(self.weights_at(weights), step.images, step.labels)
        gradients = torch.autograd.grad(value, weights, create_graph=graph, materialize_grads=True)
        each = len(states) // len(weights)  # tensors of state per weight
        updated: Point = []
        remembered: Point = []
        with torch.set_grad_enabled(graph):
            for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
                state, rate = tuple(states[i * each : (i + 1) * each]), self.rate(step.learning_rate, weight)
                weight, state = self.optimizer.update(weight, gradient, state, rate, t)
                updated.append(weight)
                remembered += state
        return updated + remembered


@contextmanager
def attention_by_math() -> Iterator[None]:
    """Compute attention by plain products and a softmax: its fused kernels have no gradient of a gradient.

    torch.nn.attention.sdpa_kernel does the same and takes 20 times as long, which a small step would notice.
    """
    switches = torch.backends.cuda
    before = switches.flash_sdp_enabled(), switches.mem_efficient_sdp_enabled(), switches.cudnn_sdp_enabled()
    _fused_attention(False, False, False)
    try:
        yield
    finally:
        _fused_attention(*before)


def _fused_attention(flash: bool, memory_efficient: bool, cudnn: bool) -> None:
    torch.backends.cuda.enable_flash_sdp(flash)  # also the fused kernel of a CPU
    torch.backends.cuda.enable_mem_efficient_sdp(memory_efficient)
    torch.backends.cuda.enable_cudnn_sdp(cudnn)


def advance(training: InnerTraining, point: Point, step: Step, t: int) -> Point:
    """Return the point after inner step number `t`, without a graph."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in point]
        return training.step(leaves, step, t, graph=False)


def vector_jacobian(
    training: InnerTraining, point: Point, step: Step, t: int, adjoint: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Return `adjoint` times the Jacobian of step `t`.

    Its parts are those for `point`, and then those for the tensors of `step` that require grad.
    """
    with torch.enable_grad():
        point = [tensor.detach().requires_grad_() for tensor in point]
        leaf = Step(*(d.requires_grad_(o.requires_grad) for d, o in zip(detached(step), step, strict=True)))
        inputs = point + [tensor for tensor in leaf if tensor.requires_grad]
        after = training.step(point, leaf, t)
    return torch.autograd.grad(after, inputs, adjoint, materialize_grads=True)


def detached(step: Step) -> Step:
    return Step(*(tensor.detach() for tensor in step))
