"""One inner step and its vector-Jacobian product as programs that torch compiles."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from dataset_distillation.errors import refuse
from dataset_distillation.inner.rounding import ERROR, excess, nudged, off_zero
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.inner_optimizers import Step

log = logging.getLogger(__name__)

#: A function of (training, point, step, t) and, for a product, the adjoint; its results have no graph.
Function = Callable[..., Sequence[Tensor]]


class CompiledSteps:
    """Functions of an inner step, each traced at its first call together with its autograd, and compiled.

    torch.compile alone cannot compute the gradient of a gradient. Whatever changes between steps and between
    networks is an argument of the program; shapes, optimizer, loss and the network's code path must not
    change.
    """

    def __init__(self, backend: str = "inductor") -> None:
        self.backend = backend
        self.programs: dict[Function, Callable[..., list[Tensor]]] = {}

    def __call__(
        self, function: Function, training: InnerTraining, point: list[Tensor], step: Step, t: int, *more: Any
    ) -> list[Tensor]:
        """Return function(training, point, step, t, *more).

        Raises ConfigError if torch cannot compile it, or if the compiled function computes something else.
        """
        number = torch.tensor(t, dtype=torch.float64)
        arguments = (training.frozen, point, [tensor.detach() for tensor in step], number, *more)
        if function in self.programs:
            return self._run(function, arguments)
        try:
            self.programs[function] = self._compiled(function, training, step, arguments)
            results = self._run(function, arguments)
            here = off_zero(point)
            compiled = self._run(function, (training.frozen, here, *arguments[2:]))
        except RuntimeError as error:  # no C++ compiler, or a network that torch cannot compile
            reason = f"torch cannot compile the inner step ({str(error).splitlines()[0]})"
            raise refuse("unroll.compile", True, reason, "use unroll.compile=false") from error
        expected = function(training, here, step, t, *more)
        near = function(training, nudged(here), step, t, *more)
        if wrong := difference(compiled, expected, near, before=more[0] if more else here):
            reason = f"the compiled network computes something else (an error of {wrong:.1e})"
            raise refuse("unroll.compile", True, reason, "use unroll.compile=false")
        return results

    def _compiled(
        self, function: Function, training: InnerTraining, step: Step, arguments: tuple[Any, ...]
    ) -> Callable[..., list[Tensor]]:
        log.info("compiling the inner step (%s)", function.__name__)
        flags = [tensor.requires_grad for tensor in step]

        def of_tensors(frozen: Any, point: Any, values: Any, number: Tensor, *more: Any) -> list[Tensor]:
            own = dataclasses.replace(training, weights=frozen)
            tensors = (v.detach().requires_grad_(flag) for v, flag in zip(values, flags, strict=True))
            return list(function(own, point, Step(*tensors), number, *more))

        return torch.compile(make_fx(of_tensors)(*arguments), backend=self.backend)

    def _run(self, function: Function, arguments: tuple[Any, ...]) -> list[Tensor]:
        device = arguments[1][0].device.type
        # The trace already contains the casts of an autocast.
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return list(self.programs[function](*arguments))


def difference(
    results: Sequence[Tensor], expected: Sequence[Tensor], near: Sequence[Tensor], before: Sequence[Tensor]
) -> float:
    """The error of a program's results for a step, or 0 if it is due to rounding.

    What has become of `before` is compared relative to its change, and the rest relative to its own size.
    near: as in `excess`.
    """
    became, rest = slice(len(before)), slice(len(before), None)
    changed, exact, close = (_flat(tensors[became]) for tensors in (results, expected, near))
    share = ERROR[torch.is_autocast_enabled(exact.device.type)]
    errors = [excess(changed, exact, close, share * float((exact - _flat(before)).norm()))]
    others = zip(results[rest], expected[rest], near[rest], strict=True)
    errors += [excess(program, exact, close, share * float(exact.norm())) for program, exact, close in others]
    return next((error for error in errors if error), 0.0)  # NaN is one, too


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
