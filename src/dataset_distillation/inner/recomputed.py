"""Inner steps whose graph is rebuilt in the backward pass, one step at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dataset_distillation.architectures import Weights
from dataset_distillation.inner.step import InnerTraining, Point, detached
from dataset_distillation.inner_optimizers import Step


def run(training: InnerTraining, point: Point, steps: Sequence[Step], done: int = 0) -> Iterator[Point]:
    """Run `steps` without a graph, after `done` earlier ones; yield the point before each and at the end."""
    yield (point := [tensor.detach() for tensor in point])
    for t, step in enumerate(steps, done + 1):
        with _precision(point[0].device):
            point = training.advance(point, detached(step), t)
        yield point


def recomputed(
    training: InnerTraining, point: Point, steps: Sequence[Step], done: int = 0, offload: bool = False
) -> Weights:
    """Return the weights after `steps`, which follow `done` earlier ones.

    They are differentiable in `point` and `steps`. Only the points between the steps are kept; with
    `offload`, on the CPU.
    """
    # An image is used in every epoch: `backward` sums its gradients, autograd would first list them all.
    meta = list({id(tensor): tensor for step in steps for tensor in step if tensor.requires_grad}.values())
    return training.weights_at(list(_Recomputed.apply(training, steps, done, offload, meta, *point, *meta)))


class _Recomputed(torch.autograd.Function):
    """The point after `steps`, whose graph is rebuilt in the backward pass, one step at a time.

    With a_t = dL/d point_t, each step is one vector-Jacobian product: a_t = (∂point_{t+1}/∂point_t)ᵀ a_{t+1},
    which for gradient descent is a_{t+1} − η̃_t ∇²ℓ a_{t+1}, and likewise for the distilled data.
    """

    @staticmethod
    def forward(
        ctx: Any,
        training: InnerTraining,
        steps: Sequence[Step],
        done: int,
        offload: bool,
        meta: list[Tensor],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        device = tensors[0].device
        ctx.training, ctx.steps, ctx.done, ctx.meta, ctx.device = training, steps, done, meta, device
        ctx.precision, points = _precision(device), []
        for point in run(training, list(tensors[: len(tensors) - len(meta)]), steps, done):
            points.append([tensor.cpu() for tensor in point] if offload else point)
        points.pop()
        # Autograd frees saved tensors after the backward pass, even while the loss still exists.
        ctx.save_for_backward(*(tensor for point in points for tensor in point))
        return tuple(point)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *adjoint: Tensor) -> tuple[Tensor | None, ...]:
        sums, points, size = {id(t): torch.zeros_like(t) for t in ctx.meta}, ctx.saved_tensors, len(adjoint)
        for number in reversed(range(len(ctx.steps))):
            step, at = ctx.steps[number], number * size
            point = [tensor.to(ctx.device) for tensor in points[at : at + size]]
            with ctx.precision:
                products = ctx.training.vector_jacobian(point, step, ctx.done + number + 1, adjoint)
            adjoint = products[: len(point)]
            learned = [tensor for tensor in step if tensor.requires_grad]
            for tensor, product in zip(learned, products[len(point) :], strict=True):
                sums[id(tensor)] += product
        return (None,) * 5 + adjoint + tuple(sums.values())


def _precision(device: torch.device) -> torch.autocast:
    """The surrounding autocast, also for the backward pass, which begins outside of it.

    The cache is off because it would keep a copy of the weights of every step.
    """
    kind = device.type
    dtype, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
    return torch.autocast(kind, dtype, enabled, cache_enabled=False)
