"""Where θ0 comes from: the distribution p(θ0) of Section 3.5.

To add an init: write one file here with a dataclass derived from `Init`, and one YAML in `conf/init/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.architectures import Architecture, Weights
from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.data import Specification
from dataset_distillation.errors import check_counts, count
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
        """Draw one sample from the architecture's own distribution of weights, on the CPU."""
        return self.architecture.draw(self.network, stream(self.seed, purpose, step), self.specification)


@dataclass
class Init:
    """p(θ0) of Section 3.5.

    networks: how many networks each outer step trains, at least 1.

    Raises ConfigError if a value is not allowed.
    """

    #: Whether θ0 is one known sample; if so, it is part of the artifact.
    known: ClassVar[bool] = False
    #: Whether θ0 comes from training, on any data.
    trained: ClassVar[bool] = False

    networks: int = count(1, most=10_000)

    def __post_init__(self) -> None:
        check_counts("init", self)

    def check(self, dataset: Dataset, stored: bool = False) -> None:
        """Raise ConfigError if this init does not fit `dataset`; `stored`: an artifact may hold θ0."""

    def check_held_out(self, networks: int) -> None:
        """Raise ConfigError if there are not so many networks that the distillation never sees."""

    def bind(self, dataset: Dataset) -> Init:
        """Return this init for the distillation of `dataset`."""
        return self

    def trained_on(self, dataset: Dataset) -> bool:
        """Whether θ0 was trained on `dataset`, as far as the options tell."""
        return False

    def has_seen(self, dataset: Dataset) -> bool:
        """Whether most images of `dataset` are among those of θ0's source, whatever is done with them."""
        return False

    def members(self, validation_networks: int) -> list[str]:
        """Return the names of the networks that must be trained before the first outer step, if any."""
        return []

    def prepare(self, origin: Origin, members: Sequence[str]) -> PoolReport | None:
        """Train the `members` that are missing, and return a report on all of them."""
        return None

    def stored(self, weights: Weights) -> Weights:
        """Return what the artifact holds of a known θ0: all of it, or nothing, if its checksum is enough."""
        return weights

    def population(self, origin: Origin, purpose: str, number: int, step: int = 0) -> list[Weights]:
        """Return `number` samples of θ0 for `purpose` at outer `step`.

        The same arguments always give the same samples.
        """
        raise NotImplementedError
