"""Keeps the weights after each inner step; the backward pass rebuilds the graph of one step at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.inner.memory import Memory
from dataset_distillation.unroll import Unroll

if TYPE_CHECKING:
    from dataset_distillation.inner.step import Linearization


@dataclass
class Recompute(Unroll):
    """The meta-gradient of `Full` with the activations of one step, for one more pass forward and backward.

    batch_networks, compile: as in every engine.
    offload: keep the weights between the steps in the CPU's memory, not in the device's.
    """

    offload: bool = False

    def memory(self, sizes: Memory) -> int:
        point = 0 if self.offload and not sizes.on_cpu else sizes.point
        return sizes.steps * (point + sizes.inputs)

    def linearization(self) -> Linearization:
        from dataset_distillation.inner.adjoint import Recomputed
        from dataset_distillation.inner.compiled import CompiledSteps

        return Recomputed(self.offload, CompiledSteps() if self.compile else None)
