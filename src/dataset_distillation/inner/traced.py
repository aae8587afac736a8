"""Inner steps and the real batch as programs that keep on the way there what the way back needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import refuse
from dataset_distillation.inner.linearized import Linearized
from dataset_distillation.inner.rounding import ERROR
from dataset_distillation.inner.step import InnerTraining, Point, advance, detached
from dataset_distillation.inner_optimizers import Step

COMPILE, REMEDY = "unroll.compile", "use unroll=recompute"


class TracedSteps:
    """A `Linearization` of inner steps by programs, which are traced at the first step.

    key, remedy: the option that has them compiled, and what to do if the network does not allow programs.
    Whatever changes between steps and between networks is an input of the programs. Optimizer, loss and the
    network's code path must not change.
    """

    def __init__(self, compiled: bool = False, key: str = COMPILE, remedy: str = REMEDY) -> None:
        self.compiled, self.key, self.remedy = compiled, key, remedy
        self.programs: dict[Any, Linearized] = {}

    def there(
        self, training: InnerTraining, point: Point, step: Step, t: int
    ) -> tuple[Point, Sequence[Tensor]]:
        """Raises ConfigError if the step cannot be traced, or if its programs compute something else."""
        number = torch.tensor(t, dtype=torch.float64)
        inputs = [*point, *(tensor.detach() for tensor in step), number, *training.frozen.values()]
        if (key := _key(step)) not in self.programs:
            with _refusals(self.compiled, self.key):
                self.programs[key] = self._trace(training, point, step, inputs)
            if not _same(
                self.programs[key].there(inputs)[0], advance(training, point, detached(step), t), point
            ):
                reason = "its trace computes something else: its code path changes between calls"
                raise refuse("architecture", type(training.network).__name__, reason, self.remedy)
        return self.programs[key].there(inputs)

    def back(
        self, training: InnerTraining, kept: Sequence[Tensor], step: Step, t: int, adjoint: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        return self.programs[_key(step)].back(kept, adjoint)

    def _trace(
        self, training: InnerTraining, point: Point, step: Step, inputs: Sequence[Tensor]
    ) -> Linearized:
        size, names = len(point), list(training.frozen)

        def after(*tensors: Tensor) -> Sequence[Tensor]:
            images, labels, rate, number, *frozen = tensors[size:]
            own = dataclasses.replace(training, weights=dict(zip(names, frozen, strict=True)))
            return own.step(list(tensors[:size]), Step(images, labels, rate), number)  # type: ignore[arg-type]

        learned = [True] * size + [tensor.requires_grad for tensor in step]
        learned += [False] * (len(inputs) - len(learned))
        return Linearized(after, inputs, learned, self.compiled)


class TracedOutputs:
    """The outputs of networks on images, by one program per size of a chunk of images.

    function: (weights, images) -> outputs, for the weights of one network or of several, stacked.
    """

    def __init__(self, function: Callable[[Weights, Tensor], Tensor], compiled: bool = False) -> None:
        self.function, self.compiled = function, compiled
        self.programs: dict[Any, Linearized] = {}

    def __call__(self, weights: Weights, images: Tensor) -> Tensor:
        """Return function(weights, images), differentiable in the weights."""
        names, tensors = list(weights), list(weights.values())
        key = (tensors[0].shape, images.shape, _precision(images.device))
        if key not in self.programs:

            def outputs(*tensors: Tensor) -> Sequence[Tensor]:
                return [self.function(dict(zip(names, tensors[:-1], strict=True)), tensors[-1])]

            learned = [*(tensor.requires_grad for tensor in tensors), False]
            with _refusals(self.compiled):
                self.programs[key] = Linearized(outputs, [*tensors, images], learned, self.compiled)
        return _Outputs.apply(self.programs[key], images, *tensors)


class _Outputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, program: Linearized, images: Tensor, *weights: Tensor) -> Tensor:
        [outputs], kept = program.there([*(weight.detach() for weight in weights), images])
        ctx.program = program
        ctx.save_for_backward(*kept)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
        gradients = iter(ctx.program.back(ctx.saved_tensors, [adjoint]))
        return None, None, *(next(gradients) if needed else None for needed in ctx.needs_input_grad[2:])


@contextmanager
def _refusals(compiled: bool, key: str = COMPILE) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # control flow that depends on data, or no C++ compiler
        reason = str(error).splitlines()[0]
        if compiled:
            reason = f"torch cannot compile this network ({reason})"
            raise refuse(key, True, reason, f"use {key}=false") from error
        raise refuse("unroll", "traced", f"this network cannot be traced ({reason})", REMEDY) from error


def _same(results: Point, expected: Point, before: Point) -> bool:
    """Whether most numbers change alike.

    Not all do: the gradient of a bias before a norm is nothing but rounding, which Adam makes a full step of.
    """
    ours, theirs, start = (
        torch.cat([tensor.flatten() for tensor in tensors]) for tensors in (results, expected, before)
    )
    changed = theirs != start
    error = ERROR[torch.is_autocast_enabled(start.device.type)]
    close = (ours - theirs).abs() <= error * (theirs - start).abs() + 1e-6 * start.abs()
    alike = close | (ours.isnan() & theirs.isnan())
    return not changed.any() or bool(alike[changed].double().mean() > 0.5)


def _key(step: Step) -> Any:
    """What a program for this step depends on."""
    tensors = [(tensor.shape, tensor.requires_grad) for tensor in step]
    return (*tensors, _precision(step.images.device))


def _precision(device: torch.device) -> Any:
    """The type of an autocast, whose casts are in a trace."""
    return torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
