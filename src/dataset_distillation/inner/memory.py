"""The memory that one network's inner steps and real batch hold until the backward pass."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    """Sizes in bytes per network, except `steps`, the number of inner steps."""

    steps: int
    step: int  # the graph of one inner step
    point: int  # the weights and the optimizer's state
    inputs: int  # the images of one inner step that are made for it alone, and the graph that leads to them
    real: int  # the graph of the real batch
    distilled: int  # the parameters of the distilled data
    on_cpu: bool
