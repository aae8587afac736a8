"""Inner steps as one function of the distilled data, whose gradient is computed step by step, backwards."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dataset_distillation.architectures import Weights
from dataset_distillation.inner.compiled import CompiledSteps, Function
from dataset_distillation.inner.step import (
    InnerTraining,
    Linearization,
    Point,
    advance,
    detached,
    vector_jacobian,
)
from dataset_distillation.inner_optimizers import Step


class Recomputed(NamedTuple):
    """A `Linearization` that keeps the point before the step, and rebuilds the graph of the step from it.

    offload: keep it in the CPU's memory.
    compiled: runs the two functions of a step as compiled programs.
    """

    offload: bool = False
    compiled: CompiledSteps | None = None

    def there(
        self, training: InnerTraining, point: Point, step: Step, t: int
    ) -> tuple[Point, Sequence[Tensor]]:
        kept = [tensor.cpu() for tensor in point] if self.offload else point
        return list(self._by(advance)(training, point, detached(step), t)), kept

    def back(
        self, training: InnerTraining, kept: Sequence[Tensor], step: Step, t: int, adjoint: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        point = [tensor.to(adjoint[0].device) for tensor in kept]
        return self._by(vector_jacobian)(training, point, step, t, adjoint)

    def _by(self, function: Function) -> Function:
        return functools.partial(self.compiled, function) if self.compiled else function


def run(training: InnerTraining, steps: Iterable[Step], by: Linearization) -> Point:
    """Return the point after `steps` from the start of an inner training, without a graph."""
    point = [tensor.detach() for tensor in training.start()]
    with torch.no_grad(), _precision(point[0].device):  # steps that are made when asked for have no graph
        for t, step in enumerate(steps, 1):
            point, _ = by.there(training, point, detached(step), t)
    return point


def unrolled(
    training: InnerTraining, point: Point, steps: Sequence[Step], by: Linearization, done: int = 0
) -> Weights:
    """Return the weights after `steps`, which follow `done` earlier ones.

    They are differentiable in `point` and `steps`.
    """
    steps = list(steps)
    # An image is used in every epoch: `backward` sums its gradients, autograd would first list them all.
    meta = list({id(tensor): tensor for step in steps for tensor in step if tensor.requires_grad}.values())
    return training.weights_at(list(_Unrolled.apply(training, steps, done, by, meta, *point, *meta)))


class _Unrolled(torch.autograd.Function):
    """The point after `steps`.

    With a_t = dL/d point_t, each step is one vector-Jacobian product: a_t = (∂point_{t+1}/∂point_t)ᵀ a_{t+1},
    which for gradient descent is a_{t+1} − η̃_t ∇²ℓ a_{t+1}, and likewise for the distilled data.
    """

    @staticmethod
    def forward(
        ctx: Any,
        training: InnerTraining,
        steps: Sequence[Step],
        done: int,
        by: Linearization,
        meta: list[Tensor],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        point, kept = [tensor.detach() for tensor in tensors[: len(tensors) - len(meta)]], []
        ctx.training, ctx.steps, ctx.done, ctx.by, ctx.meta = training, steps, done, by, meta
        ctx.precision = _precision(point[0].device)
        with ctx.precision:
            for t, step in enumerate(steps, done + 1):
                point, own = by.there(training, point, step, t)
                kept.append(own)
        # Autograd frees saved tensors after the backward pass, even while the loss still exists.
        ctx.save_for_backward(*(tensor for own in kept for tensor in own))
        ctx.counts = [len(own) for own in kept]
        return tuple(point)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *adjoint: Tensor) -> tuple[Tensor | None, ...]:
        sums, kept, size = {id(t): torch.zeros_like(t) for t in ctx.meta}, ctx.saved_tensors, len(adjoint)
        end = len(kept)
        for number in reversed(range(len(ctx.steps))):
            step, own = ctx.steps[number], kept[end - ctx.counts[number] : end]
            with ctx.precision:
                products = ctx.by.back(ctx.training, own, step, ctx.done + number + 1, adjoint)
            adjoint, end = tuple(products[:size]), end - ctx.counts[number]
            learned = [tensor for tensor in step if tensor.requires_grad]
            for tensor, product in zip(learned, products[size:], strict=True):
                sums[id(tensor)] += product
        return (None,) * 5 + adjoint + tuple(sums.values())


def _precision(device: torch.device) -> torch.autocast:
    """The surrounding autocast, also for the backward pass, which begins outside of it.

    The cache is off because it would keep a copy of the weights of every step.
    """
    kind = device.type
    dtype, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
    return torch.autocast(kind, dtype, enabled, cache_enabled=False)
