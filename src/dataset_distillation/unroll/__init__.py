"""θ0 → θT and how gradients cross it. The only place that knows `higher`.

To add an engine: one file here with a dataclass derived from `Unroll`, and one YAML in `conf/unroll/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import member
from dataset_distillation.inner.memory import Memory
from dataset_distillation.inner_optimizers import Step

if TYPE_CHECKING:
    from dataset_distillation.inner.step import InnerTraining


class Moment(NamedTuple):
    """An outer step: its number, how many there are of them and of inner steps, and the run's seed."""

    step: int
    outer_steps: int
    inner_steps: int
    seed: int


class BatchNetworks(StrEnum):
    """Whether the networks of an outer step are one program; auto: where that is faster."""

    auto = "auto"
    on = "on"
    off = "off"


@dataclass
class Unroll:
    """An engine for θT as a differentiable function of the distilled data."""

    batch_networks: BatchNetworks = BatchNetworks.auto
    compile: bool = False

    def __post_init__(self) -> None:
        self.batch_networks = member("unroll.batch_networks", self.batch_networks, BatchNetworks)

    def check(self, inner_steps: int) -> None:
        """Raise ConfigError if this engine cannot unroll so many steps."""

    def at(self, moment: Moment) -> Unroll:
        """The engine as it is in an outer step."""
        return self

    def diagnostics(self) -> dict[str, float]:
        """What a user may want to watch of the engine in this outer step."""
        return {}

    def memory(self, sizes: Memory) -> int:
        """Bytes kept on the device of one network's inner steps until the way back through them."""
        raise NotImplementedError

    def unroll(self, training: InnerTraining, steps: Sequence[Step]) -> Weights:
        """θT after `steps`; differentiable in θ0 and every tensor of the steps, where they require grad."""
        raise NotImplementedError
