"""What one network's inner steps and real batch keep in memory until the way back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    """Bytes per network, but for `steps`: how many inner steps there are."""

    steps: int
    step: int  # the graph of one of them
    point: int  # the weights and the optimizer's state
    real: int  # the graph of the real batch
    distilled: int  # what is learned
    on_cpu: bool
