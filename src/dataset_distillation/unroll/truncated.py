"""Differentiates through a window of the inner steps; the steps before it run without a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import check_counts, count, refuse
from dataset_distillation.inner.memory import Memory
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.randomness import stream
from dataset_distillation.unroll import Moment, Unroll
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.traced import Traced

if TYPE_CHECKING:
    import torch

    from dataset_distillation.inner.step import InnerTraining, Linearization
    from dataset_distillation.unroll import Outputs


STARTS = ("last", "random", "curriculum")


@dataclass
class Truncated(Unroll):
    """Truncated back-propagation (start=last), or RaT-BPTT (start=random; Feng, Vedantam & Kempe 2023).

    The outer loss is computed where the window ends, so the steps after it do not run. A window as long as
    the unroll gives the gradient of `Full`.

    batch_networks, compile: as in every engine.
    window: the number of inner steps in the window.
    start: the first step of the window: `last` (the window ends with the last step), `random` (drawn anew for
        each outer step), `curriculum` (from the first window to the last over the outer steps), or the number
        of a step, from 0.
    stored: whether the window keeps what its steps compute, as `Traced` does, or computes it again, as
        `Recompute` does.

    Raises ConfigError if a value is not allowed.
    """

    window: int = count(10, most=1_000_000)
    start: str = "last"
    stored: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts("unroll", self)
        self.start = str(self.start)  # a program may give the number
        if self.start not in STARTS and not self.start.isdecimal():
            raise refuse("unroll.start", self.start, f"must be {', '.join(STARTS)} or the number of a step")

    def check(self, inner_steps: int) -> None:
        if self.start.isdecimal() and int(self.start) >= inner_steps:
            allowed = f"must be below {inner_steps}, the number of inner steps"
            raise refuse("unroll.start", self.start, allowed)

    def at(self, moment: Moment) -> Truncated:
        last = max(0, moment.inner_steps - self.window)
        if self.start == "random":
            import torch

            generator = stream(moment.seed, "window", moment.step)
            start = int(torch.randint(last + 1, (), generator=generator))
        elif self.start == "curriculum":  # from the first window to the last, evenly over the outer steps
            start = round(last * moment.step / max(1, moment.outer_steps - 1))
        else:
            start = last if self.start == "last" else int(self.start)
        return dataclasses.replace(self, start=str(start))

    def diagnostics(self) -> dict[str, float]:
        return {"window_start": float(self.start)}

    def memory(self, sizes: Memory) -> int:
        kept = (sizes.step if self.stored else sizes.point) + sizes.inputs
        return min(self.window, sizes.steps) * kept

    @property
    def _within(self) -> Recompute | Traced:
        """The engine of the steps in the window."""
        return Traced(compile=self.compile) if self.stored else Recompute(compile=self.compile)

    def linearization(self) -> Linearization:
        return self._within.linearization()

    def outputs(self, function: Outputs) -> Outputs:
        return self._within.outputs(function)

    def acceleration(self, device: torch.device) -> AbstractContextManager[Any]:
        return self._within.acceleration(device)

    def unroll(self, training: InnerTraining, steps: Sequence[Step]) -> Weights:
        from dataset_distillation.inner.adjoint import run, unrolled

        assert training.by is not None
        start = int(self.start)
        point = run(training, steps[:start], training.by)
        return unrolled(training, point, steps[start : start + self.window], training.by, done=start)
