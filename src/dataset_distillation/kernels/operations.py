"""The derivatives, shapes and batching rules of the kernels.

The convolution and its two gradients are bilinear, and each is a derivative of the other two; `take` and
`put` are linear, and each is the derivative of the other, as are `average` and `spread`. So all derivatives
of all orders are made of these operations: x (images, channels, height, width), w (outputs, channels, kernel
height, kernel width), y (images, outputs, rows, columns). Those of several networks have a first dimension
more; x may be shared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, library

Gradients = tuple[Tensor | None, ...]


@functools.cache
def register() -> None:
    """Tell torch, once, how the operations, which must be loaded, are differentiated, traced and batched."""
    operations = torch.ops.distill
    convolution, image_gradient = operations.convolution, operations.image_gradient
    weight_gradient = operations.weight_gradient

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        first, second, *ctx.padding = inputs
        ctx.save_for_backward(first, second)

    def bilinear(ctx: Any, of_first: Callable[..., Tensor], of_second: Callable[..., Tensor]) -> Gradients:
        """The gradients that are needed of two tensors; the first may be shared by all networks."""
        first, second = ctx.saved_tensors
        needs_first, needs_second, *_ = ctx.needs_input_grad
        own = of_first(second, *ctx.padding) if needs_first else None
        if own is not None and own.ndim > first.ndim:
            own = own.sum(0)
        return own, of_second(first, *ctx.padding) if needs_second else None, None, None

    def of_convolution(ctx: Any, gradient: Tensor) -> Gradients:
        return bilinear(
            ctx,
            lambda w, *padding: image_gradient(gradient, w, *padding),
            lambda x, *padding: weight_gradient(x, gradient, *padding),
        )

    def of_image_gradient(ctx: Any, gradient: Tensor) -> Gradients:
        return bilinear(
            ctx,
            lambda w, *padding: convolution(gradient, w, *padding),
            lambda y, *padding: weight_gradient(gradient, y, *padding),
        )

    def of_weight_gradient(ctx: Any, gradient: Tensor) -> Gradients:
        return bilinear(
            ctx,
            lambda y, *padding: image_gradient(y, gradient, *padding),
            lambda x, *padding: convolution(x, gradient, *padding),
        )

    derivatives = {convolution: of_convolution, image_gradient: of_image_gradient}
    for operation, derivative in {**derivatives, weight_gradient: of_weight_gradient}.items():
        library.register_autograd(operation.default, derivative, setup_context=keep)
        library.register_vmap(operation.default, _over_networks(operation))
    _register_pooling()
    _register_shapes()


def _register_pooling() -> None:
    operations = torch.ops.distill
    take, put, average, spread = operations.take, operations.put, operations.average, operations.spread

    def keep_places(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.size = inputs[0].shape[-2:]

    def of_take(ctx: Any, gradient: Tensor) -> Gradients:
        return put(gradient, ctx.saved_tensors[0], *ctx.size), None

    def of_put(ctx: Any, gradient: Tensor) -> Gradients:
        return take(gradient, ctx.saved_tensors[0]), None, None, None

    library.register_autograd(take.default, of_take, setup_context=keep_places)
    library.register_autograd(put.default, of_put, setup_context=keep_places)

    def keep_kernel(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.kernel = inputs[1]

    def of_average(ctx: Any, gradient: Tensor) -> Gradients:
        return spread(gradient, ctx.kernel), None

    def of_spread(ctx: Any, gradient: Tensor) -> Gradients:
        return average(gradient, ctx.kernel), None

    library.register_autograd(average.default, of_average, setup_context=keep_kernel)
    library.register_autograd(spread.default, of_spread, setup_context=keep_kernel)
    for operation in (operations.pool_index, take, put, average, spread):
        library.register_vmap(operation.default, _over_planes(operation))


def _over_networks(operation: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int]]:
    """The batching rule: the batch becomes the dimension of networks."""
    images_first = operation in (torch.ops.distill.convolution, torch.ops.distill.weight_gradient)

    def rule(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        first, second, *padding = arguments
        if dims[0] is not None or not images_first:  # otherwise the images stay shared
            first = _stacked(first, dims[0], info.batch_size)
        return operation(first, _stacked(second, dims[1], info.batch_size), *padding), 0

    return rule


def _over_planes(operation: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int]]:
    """The batching rule of an operation on the last two dimensions of its tensors."""

    def rule(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        stacked = [
            _stacked(argument, dim, info.batch_size) if isinstance(argument, Tensor) else argument
            for argument, dim in zip(arguments, dims, strict=True)
        ]
        return operation(*stacked), 0

    return rule


def _stacked(tensor: Tensor, dim: int | None, number: int) -> Tensor:
    return tensor.expand(number, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _register_shapes() -> None:
    fake = library.register_fake

    def sizes(x: Tensor, w: Tensor, *margins: int) -> Iterator[int]:
        """The height and width of x correlated with w."""
        return (a + 2 * m - b + 1 for a, b, m in zip(x.shape[-2:], w.shape[-2:], margins, strict=True))

    @fake("distill::convolution")
    def _(x: Tensor, w: Tensor, pad_height: int, pad_width: int) -> Tensor:
        return x.new_empty(*w.shape[:-4], x.shape[-4], w.shape[-4], *sizes(x, w, pad_height, pad_width))

    @fake("distill::image_gradient")
    def _(y: Tensor, w: Tensor, pad_height: int, pad_width: int) -> Tensor:
        margins = w.shape[-2] - 1 - pad_height, w.shape[-1] - 1 - pad_width
        return y.new_empty(*w.shape[:-4], y.shape[-4], w.shape[-3], *sizes(y, w, *margins))

    @fake("distill::weight_gradient")
    def _(x: Tensor, y: Tensor, pad_height: int, pad_width: int) -> Tensor:
        return x.new_empty(*y.shape[:-4], y.shape[-3], x.shape[-3], *sizes(x, y, pad_height, pad_width))

    @fake("distill::pool_index")
    def _(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        rows, columns = ((size + 2 * padding - kernel) // stride + 1 for size in x.shape[-2:])
        return x.new_empty(*x.shape[:-2], rows, columns, dtype=torch.int32)

    @fake("distill::take")
    def _(x: Tensor, index: Tensor) -> Tensor:
        return x.new_empty(index.shape)

    @fake("distill::average")
    def _(x: Tensor, kernel: int) -> Tensor:
        return x.new_empty(*x.shape[:-2], *(size // kernel for size in x.shape[-2:]))

    @fake("distill::spread")
    def _(y: Tensor, kernel: int) -> Tensor:
        return y.new_empty(*y.shape[:-2], *(size * kernel for size in y.shape[-2:]))

    @fake("distill::put")
    def _(y: Tensor, index: Tensor, height: int, width: int) -> Tensor:
        return y.new_empty(*y.shape[:-2], height, width)
