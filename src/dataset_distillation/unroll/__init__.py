"""The unroll engines: θ0 → θT, and how gradients cross it. No other package uses `higher`.

To add an engine: write one file here with a dataclass derived from `Unroll`, and one YAML in `conf/unroll/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import member
from dataset_distillation.inner.memory import Memory
from dataset_distillation.inner_optimizers import Step

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dataset_distillation.inner.step import InnerTraining, Linearization

    #: (weights, images) -> outputs, for the weights of one network or of several, stacked.
    Outputs = Callable[[Weights, Tensor], Tensor]


class Moment(NamedTuple):
    """An outer step: its number, the number of outer and of inner steps, and the seed of the run."""

    step: int
    outer_steps: int
    inner_steps: int
    seed: int


class BatchNetworks(StrEnum):
    """Whether the networks of an outer step run as one program; auto: if that is faster."""

    auto = "auto"
    on = "on"
    off = "off"


@dataclass
class Unroll:
    """An engine that computes θT as a differentiable function of the distilled data (Algorithm 1).

    batch_networks: whether the networks of an outer step run as one program: `on`, `off`, or `auto`: if that
        is faster.
    compile: whether torch compiles the inner step.

    Raises ConfigError if a value is not allowed.
    """

    batch_networks: BatchNetworks = BatchNetworks.auto
    compile: bool = False

    def __post_init__(self) -> None:
        self.batch_networks = member("unroll.batch_networks", self.batch_networks, BatchNetworks)

    def check(self, inner_steps: int) -> None:
        """Raise ConfigError if this engine cannot unroll `inner_steps` steps."""

    def at(self, moment: Moment) -> Unroll:
        """Return the engine for one outer step."""
        return self

    def diagnostics(self) -> dict[str, float]:
        """Return numbers about the engine in this outer step that are worth logging, by name."""
        return {}

    def memory(self, sizes: Memory) -> int:
        """Return the bytes that one network's inner steps hold on the device until the backward pass."""
        return sizes.steps * (sizes.step + sizes.inputs)

    def linearization(self) -> Linearization | None:
        """Return how this engine linearizes a step; what it holds serves all outer steps."""
        return None

    def outputs(self, function: Outputs) -> Outputs:
        """Return `function`, which gives the outputs of networks on real images, as this engine runs it."""
        return function

    def acceleration(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return a context for training and testing networks on `device` in a run with this engine."""
        return nullcontext()

    def unroll(self, training: InnerTraining, steps: Sequence[Step]) -> Weights:
        """Return θT after `steps`, differentiable in θ0 and in the tensors of the steps that require grad."""
        from dataset_distillation.inner.adjoint import unrolled

        assert training.by is not None
        return unrolled(training, training.start(), steps, training.by)
