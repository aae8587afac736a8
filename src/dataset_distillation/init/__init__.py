"""Where θ0 comes from: the distribution p(θ0) of Section 3.5.

To add one: one file here with a dataclass derived from `Init`, and one YAML in `conf/init/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.architectures import Architecture, Weights
from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.data import Specification
from dataset_distillation.errors import positive
from dataset_distillation.randomness import stream
from dataset_distillation.run.records import PoolReport

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Origin:
    """What a sample of θ0 depends on: the network and how it is drawn, the dataset it is for, and a seed."""

    architecture: Architecture
    network: nn.Module
    specification: Specification
    seed: int

    def draw(self, purpose: str, step: int = 0) -> Weights:
        """One sample of the architecture's own distribution of weights, on the CPU."""
        return self.architecture.draw(self.network, stream(self.seed, purpose, step), self.specification)


@dataclass
class Init:
    """p(θ0), and how many networks of it each outer step sees."""

    #: Whether θ0 is one known sample: it belongs to the artifact then.
    known: ClassVar[bool] = False
    #: Whether θ0 comes from training, on whatever data.
    trained: ClassVar[bool] = False

    networks: int = 1

    def __post_init__(self) -> None:
        positive("init.networks", self.networks)

    def check(self, dataset: Dataset, stored: bool = False) -> None:
        """Raise ConfigError if this init does not fit `dataset`; `stored`: an artifact may hold θ0."""

    def bind(self, dataset: Dataset) -> Init:
        """This init for the distillation of `dataset`."""
        return self

    def trained_on(self, dataset: Dataset) -> bool:
        """Whether θ0 was trained on `dataset`, as far as is known."""
        return False

    def members(self, validation_networks: int) -> list[str]:
        """The names of the networks that must have been trained before the first outer step, if any."""
        return []

    def prepare(
        self, origin: Origin, members: Sequence[str], progress_bar: bool = False
    ) -> PoolReport | None:
        """Train those of the `members` that are missing; returns what is known of them."""
        return None

    def stored(self, weights: Weights) -> Weights:
        """What the artifact holds of a known θ0: all of it, or nothing but its checksum."""
        return weights

    def population(self, origin: Origin, purpose: str, number: int, step: int = 0) -> list[Weights]:
        """`number` samples of θ0 for `purpose` at outer `step`; the same arguments give the same ones."""
        raise NotImplementedError
