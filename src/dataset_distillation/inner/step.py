"""One inner step as a function, and its vector-Jacobian product: what the engines are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dataset_distillation.architectures import Weights
from dataset_distillation.inner_optimizers import InnerOptimizer, Step

Loss = Callable[[Tensor, Tensor], Tensor]

#: Of (training, point, step, t, adjoint or nothing); what it returns has no graph.
Function = Callable[..., Sequence[Tensor]]

#: Where the inner training is: the trained weights, then what the optimiser remembers of each of them.
Point = list[Tensor]


@dataclass(frozen=True)
class InnerTraining:
    """The training of one network on distilled data, from θ0 = `weights`.

    `network` gives the form; its own parameters are neither read nor changed. A parameter that the
    network's author froze stays as it is in θ0.
    """

    network: nn.Module
    weights: Weights
    optimizer: InnerOptimizer
    loss: Loss
    compiled: Function | None = None  # what runs the functions of its steps without a graph, see compiled.py

    @cached_property
    def names(self) -> list[str]:
        """Of the weights that are trained."""
        return [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]

    @cached_property
    def frozen(self) -> Weights:
        return {name: weight for name, weight in self.weights.items() if name not in self.names}

    def start(self) -> Point:
        """θ0, before the first step."""
        trained = [self.weights[name] for name in self.names]
        return trained + [tensor for weight in trained for tensor in self.optimizer.state(weight.detach())]

    def weights_at(self, point: Point) -> Weights:
        return self.frozen | dict(zip(self.names, point, strict=False))

    def value(self, weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
        """ℓ(x̃, θ), a scalar."""
        return self.loss(functional_call(self.network, weights, (images,)), labels)

    def rate(self, learning_rate: Tensor, weight: Tensor) -> Tensor:
        """The learning rate in a shape that broadcasts against `weight`."""
        return learning_rate

    def step(self, point: Point, step: Step, t: int, graph: bool = True) -> Point:
        """The point after inner step number `t` (from 1); the weights in `point` must require grad.

        With `graph`, differentiable in all that requires grad, `point` included.
        """
        weights, states = point[: len(self.names)], point[len(self.names) :]
        value = self.value(self.weights_at(weights), step.images, step.labels)
        gradients = torch.autograd.grad(value, weights, create_graph=graph, materialize_grads=True)
        each = len(states) // len(weights)  # tensors of state a weight
        updated: Point = []
        remembered: Point = []
        with torch.set_grad_enabled(graph):
            for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
                state, rate = tuple(states[i * each : (i + 1) * each]), self.rate(step.learning_rate, weight)
                weight, state = self.optimizer.update(weight, gradient, state, rate, t)
                updated.append(weight)
                remembered += state
        return updated + remembered

    def advance(self, point: Point, step: Step, t: int) -> Point:
        """The point after inner step number `t`, without a graph."""
        return list(self._by(_advance)(self, point, step, t))

    def vector_jacobian(
        self, point: Point, step: Step, t: int, adjoint: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """`adjoint` times the Jacobian of step `t`: for `point`, then for what in `step` requires grad."""
        return tuple(self._by(_vector_jacobian)(self, point, step, t, adjoint))

    def _by(self, function: Function) -> Function:
        return functools.partial(self.compiled, function) if self.compiled else function


def _advance(training: InnerTraining, point: Point, step: Step, t: int) -> Point:
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in point]
        return training.step(leaves, step, t, graph=False)


def _vector_jacobian(
    training: InnerTraining, point: Point, step: Step, t: int, adjoint: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        point = [tensor.detach().requires_grad_() for tensor in point]
        leaf = Step(*(d.requires_grad_(o.requires_grad) for d, o in zip(detached(step), step, strict=True)))
        inputs = point + [tensor for tensor in leaf if tensor.requires_grad]
        after = training.step(point, leaf, t)
    return torch.autograd.grad(after, inputs, adjoint, materialize_grads=True)


def detached(step: Step) -> Step:
    return Step(*(tensor.detach() for tensor in step))
