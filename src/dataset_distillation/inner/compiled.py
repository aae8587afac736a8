"""One inner step, and its vector-Jacobian product, as programs that torch compiles."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from dataset_distillation.errors import refuse
from dataset_distillation.inner.step import Function, InnerTraining
from dataset_distillation.inner_optimizers import Step

log = logging.getLogger(__name__)

# Of what a compiled step changes, without and with autocast: more is not rounding.
ERROR = {False: 1e-2, True: 0.5}


class CompiledSteps:
    """Functions of an inner step, each traced at its first call, with the autograd in it, and compiled.

    torch.compile by itself takes no gradient of a gradient. What changes between the steps and between the
    networks is an argument of the program; shapes, optimiser, loss and the network's path must not change.
    """

    def __init__(self, backend: str = "inductor") -> None:
        self.backend = backend
        self.programs: dict[Function, Callable[..., list[Tensor]]] = {}

    def __call__(
        self, function: Function, training: InnerTraining, point: list[Tensor], step: Step, t: int, *more: Any
    ) -> list[Tensor]:
        """function(training, point, step, t, *more).

        Raises ConfigError if torch cannot compile it, or compiles another function.
        """
        number = torch.tensor(t, dtype=torch.float64)
        arguments = (training.frozen, point, [tensor.detach() for tensor in step], number, *more)
        if function in self.programs:
            return self._run(function, arguments)
        try:
            self.programs[function] = self._compiled(function, training, step, arguments)
            found = self._run(function, arguments)
        except RuntimeError as error:  # no C++ compiler, or a network that it cannot take
            reason = f"torch cannot compile the inner step ({str(error).splitlines()[0]})"
            raise refuse("unroll.compile", True, reason, "take unroll.compile=false") from error
        _check(found, function(training, point, step, t, *more), before=more[0] if more else point)
        return found

    def _compiled(
        self, function: Function, training: InnerTraining, step: Step, arguments: tuple[Any, ...]
    ) -> Callable[..., list[Tensor]]:
        log.info("compiling the inner step (%s)", function.__name__.strip("_"))
        learned = [tensor.requires_grad for tensor in step]

        def of_tensors(frozen: Any, point: Any, values: Any, number: Tensor, *more: Any) -> list[Tensor]:
            own = dataclasses.replace(training, weights=frozen, compiled=None)
            tensors = (v.detach().requires_grad_(wanted) for v, wanted in zip(values, learned, strict=True))
            return list(function(own, point, Step(*tensors), number, *more))

        return torch.compile(make_fx(of_tensors)(*arguments), backend=self.backend)

    def _run(self, function: Function, arguments: tuple[Any, ...]) -> list[Tensor]:
        device = arguments[1][0].device.type
        # The casts of an autocast are in the trace.
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return list(self.programs[function](*arguments))


def _check(found: Sequence[Tensor], expected: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Raise ConfigError if a compiled step is not the step: in what becomes of `before`, or in the rest."""
    became, rest = slice(len(before)), slice(len(before), None)
    groups = [(_flat(found[became]), _flat(expected[became]), _flat(before))]
    others = zip(found[rest], expected[rest], strict=True)
    groups += [(ours, theirs, torch.zeros_like(theirs)) for ours, theirs in others]
    for ours, theirs, start in groups:
        allowed = ERROR[torch.is_autocast_enabled(ours.device.type)] * (theirs - start).norm()
        if not (error := (ours - theirs).norm()) <= allowed + 1e-6 * start.norm():
            reason = f"torch has compiled this network to another one (an error of {error:.1e})"
            raise refuse("unroll.compile", True, reason, "take unroll.compile=false")


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
