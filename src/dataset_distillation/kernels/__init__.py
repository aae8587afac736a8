"""Convolutions with few input channels and pooling for CPUs, in C++, in place of torch's.

On one thread of an AMD EPYC, torch computes the image gradient of a convolution with one or three input
channels at 5 % of the processor's arithmetic, and max-pooling thirty times slower than a vectorized loop;
what it compiles of the gradient of average-pooling divides indices, number by number.
These kernels are compiled at their first use and never required. See `convolution.h`, `pooling.h`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dataset_distillation.kernels import build, operations

log = logging.getLogger(__name__)

CHANNELS = 16  # torch is faster from this number of input channels on


def kernels(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which networks on `device` use these kernels wherever they apply."""
    return _Kernels() if device.type == "cpu" and available() else nullcontext()


@functools.cache
def available() -> bool:
    """Whether the kernels could be compiled and compute what torch's operations compute; if not, log why."""
    try:
        build.load()
        operations.register()
        _check()
    except RuntimeError as error:
        log.info("the C++ kernels are not used: %s; with them, LeNet's steps take half the time", error)
        return False
    return True


class _Kernels(TorchFunctionMode):
    """Replaces functions of torch that a network calls."""

    def __init__(self) -> None:
        super().__init__()
        # The last relu(x) and x, and how often each had been changed in place.
        self.rectified: tuple[Tensor, int, Tensor, int] | None = None

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not args:  # all by name, as few networks do
            return function(**kwargs)
        if function in RELU and not (kwargs.get("inplace") or len(args) > 1):
            result = torch.relu(args[0])
            self.rectified = result, result._version, args[0], args[0]._version
            return result
        if function in POOLING and (x := self._before_relu(args[0])) is not None:
            # The maximum of relu(x) is relu of the maximum: the same values and the same derivatives, of
            # fewer numbers. In a trace, nobody uses the larger relu any more.
            return torch.relu(max_pool2d(x, *args[1:], **kwargs))
        return REPLACED.get(function, function)(*args, **kwargs)

    def _before_relu(self, y: Tensor) -> Tensor | None:
        """Return x if `y` is the last relu(x), and neither has been changed since."""
        if self.rectified is None:
            return None
        result, version, x, before = self.rectified
        return x if y is result and y._version == version and x._version == before else None


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.conv2d`: by the kernel for few channels, stride 1, no dilation and no groups."""
    plain = _pair(stride) == _pair(dilation) == (1, 1) and groups == 1 and not isinstance(padding, str)
    if not (plain and x.ndim == 4 and weight.shape[1] < CHANNELS and _ours(x) and x.dtype == weight.dtype):
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    height, width = _pair(padding)
    if height >= weight.shape[2] or width >= weight.shape[3]:  # its gradient would have a negative margin
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    y = torch.ops.distill.convolution(x, weight, height, width)
    return y if bias is None else y + bias.view(-1, 1, 1)


def max_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """`torch.max_pool2d`: by the kernel for square windows without dilation."""
    kernel, steps, margin = _pair(kernel_size), _pair(stride or kernel_size), _pair(padding)
    square = all(len(set(sizes)) == 1 for sizes in (kernel, steps, margin))
    if not square or _pair(dilation) != (1, 1) or ceil_mode or return_indices or not _ours(x):
        options: tuple[Any, ...] = (stride, padding, dilation, ceil_mode, return_indices)
        return functional.max_pool2d(x, kernel_size, *options)
    index = torch.ops.distill.pool_index(x.detach(), kernel[0], steps[0], margin[0])
    return torch.ops.distill.take(x, index)


def avg_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`torch.nn.functional.avg_pool2d`: by the kernel for square windows that lie side by side."""
    kernel = _pair(kernel_size)
    tiles = kernel == _pair(stride or kernel_size) and kernel[0] == kernel[1] and _pair(padding) == (0, 0)
    fits = x.shape[-2] % kernel[0] == x.shape[-1] % kernel[1] == 0 and divisor_override is None
    if not (tiles and fits and _ours(x)):
        options: tuple[Any, ...] = (stride, padding, ceil_mode, count_include_pad, divisor_override)
        return functional.avg_pool2d(x, kernel_size, *options)
    return torch.ops.distill.average(x, kernel[0])


RELU = (torch.relu, functional.relu, Tensor.relu)
POOLING = (torch.max_pool2d, functional.max_pool2d)
REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.conv2d: conv2d,
    **dict.fromkeys(POOLING, max_pool2d),
    functional.avg_pool2d: avg_pool2d,
}


def _ours(x: Tensor) -> bool:
    precise = x.dtype in (torch.float32, torch.float64)
    return precise and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _pair(sizes: Any) -> tuple[int, int]:
    return (sizes, sizes) if isinstance(sizes, int) else (sizes[0], sizes[-1])


def _check() -> None:
    """Raise RuntimeError unless the kernels and their gradients agree with torch on a small example."""
    generator = torch.Generator().manual_seed(0)
    x, w = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 5, 13, 19), (15, 5, 3, 5))
    )
    found = []
    theirs = (torch.conv2d, functional.max_pool2d, functional.avg_pool2d)
    for conv, largest, average in ((conv2d, max_pool2d, avg_pool2d), theirs):
        y = average(largest(conv(x, w, padding=2), 4, 1).pow(2), 4)
        first = torch.autograd.grad(y.square().sum(), (x, w), create_graph=True)
        second = torch.autograd.grad(torch.cat([part.flatten() for part in first]).square().sum(), (x, w))
        found.append((y, *first, *second))
    for ours, other in zip(*found, strict=True):
        if not torch.allclose(ours, other, rtol=1e-9, atol=1e-9):
            raise RuntimeError("they do not compute what torch computes")
