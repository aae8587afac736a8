"""What rounding alone changes: by how much a compiled program may differ from what it was compiled of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The largest relative error of a compiled program's results, without and with autocast, beside what rounding
# makes. A larger error is not due to the order of operations.
ERROR = {False: 1e-2, True: 0.5}

SLACK = 10.0  # times what one change of the last bits makes


def off_zero(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors with 0.01 in place of those of nothing but zeros: there programs can be compared.

    An optimizer's state begins at 0, where Adam divides by the size of the gradient. Where that is only
    rounding, as for a bias before a norm, the product back makes numbers of 1e15.
    """
    return [
        torch.full_like(tensor, 0.01) if tensor.is_floating_point() and not tensor.any() else tensor
        for tensor in tensors
    ]


def nudged(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors with about the last bit of each float changed.

    Where this changes much, rounding does: the gradient of a bias before a norm is nothing but rounding, of
    which Adam makes a full step.
    """
    generator = torch.Generator().manual_seed(0)
    return [_nudged(tensor, generator) if tensor.is_floating_point() else tensor for tensor in tensors]


def _nudged(tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)
    return tensor * (1 + torch.finfo(tensor.dtype).eps * noise)


def excess(result: Tensor, exact: Tensor, near: Tensor, allowed: float) -> float:
    """The error of a compiled program's result, or 0 if it is due to rounding; NaN is not.

    near: the exact result for inputs that are `nudged`. allowed: the error that is, whatever rounding makes.
    """
    error = float((result - exact).norm())
    return 0.0 if error <= allowed + SLACK * float((near - exact).norm()) else error
