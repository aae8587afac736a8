"""Keeps what each inner step computes, by programs that are traced once; the backward pass uses all of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation.unroll import Unroll

if TYPE_CHECKING:
    import torch

    from dataset_distillation.inner.step import Linearization
    from dataset_distillation.unroll import Outputs


@dataclass
class Traced(Unroll):
    """The meta-gradient of `Full`, up to three times as fast on a CPU (docs/benchmarks.md).

    An inner step and its vector-Jacobian product are traced together and split into two programs, so that the
    way back uses what the way there has computed. The real batch passes such programs, too. On a CPU they
    use the kernels of `dataset_distillation.kernels`.

    batch_networks: as in every engine.
    compile: whether torch compiles the programs.
    """

    def linearization(self) -> Linearization:
        from dataset_distillation.inner.traced import TracedSteps

        return TracedSteps(self.compile)

    def outputs(self, function: Outputs) -> Outputs:
        from dataset_distillation.inner.traced import TracedOutputs

        return TracedOutputs(function, self.compile)

    def acceleration(self, device: torch.device) -> AbstractContextManager[Any]:
        from dataset_distillation.kernels import kernels

        return kernels(device)
