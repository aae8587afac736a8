"""Where θ0 comes from: the distribution p(θ0) of Section 3.5.

To add one: one file here with a dataclass derived from `Init`, and one YAML in `conf/init/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.errors import positive

if TYPE_CHECKING:
    from dataset_distillation.architectures import Weights
    from dataset_distillation.experiment.tree import Experiment
    from dataset_distillation.problem import Problem


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

    def check(self, experiment: Experiment) -> None:
        """Raise ConfigError if this init does not fit the rest of the experiment."""

    def members(self, validation_networks: int) -> list[str]:
        """The networks that must have been trained before the first outer step, by name; see pool.py."""
        return []

    def stored(self, weights: Weights) -> Weights:
        """What the artifact holds of a known θ0: all of it, or nothing but its checksum."""
        return weights

    def population(self, problem: Problem, purpose: str, number: int, step: int = 0) -> list[Weights]:
        """`number` samples of θ0 for `purpose` at outer `step`; the same arguments give the same ones."""
        raise NotImplementedError
