"""What the inner steps keep in memory until the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dataset_distillation.unroll import Unroll

MARGIN = 1.1  # for what single operations need while they run: the peak is to lie below the estimate


@dataclass(frozen=True)
class Memory:
    """Bytes a network, but for `steps`: how many inner steps there are."""

    steps: int
    step: int  # the graph of one of them
    point: int  # the weights and the optimiser's state
    real: int  # the graph of the real batch
    distilled: int  # what is learned
    on_cpu: bool

    def of(self, engine: Unroll, networks: int, together: bool = False) -> int:
        """Bytes of one meta-gradient.

        All networks are unrolled before the way back begins. There one step's graph, at once for those that
        are batched, is met by gradients of its size; the distilled data have a copy and a gradient a network.
        """
        kept = engine.memory(self) + self.real + 2 * self.distilled
        return round(MARGIN * (networks * kept + 2 * self.step * (networks if together else 1)))


def kept_by(function: Callable[[], Any]) -> int:
    """Bytes that autograd keeps for the way back through `function`."""
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> int:
        kept.append(tensor)
        return len(kept) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, kept.__getitem__):
        function()
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in kept)}
    kept.clear()  # a graph may hold itself through what it keeps
    return sum(storages.values())
