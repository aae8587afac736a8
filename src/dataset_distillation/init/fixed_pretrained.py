"""One network trained beforehand on a source data set, the same in distillation and in evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.datasets import Dataset
from dataset_distillation.init.fixed import Fixed
from dataset_distillation.init.pretrained import Pretraining, same_images

if TYPE_CHECKING:
    from dataset_distillation.architectures import Weights
    from dataset_distillation.config import Experiment
    from dataset_distillation.problem import Problem


@dataclass
class FixedPretrained(Fixed):
    """Section 3.5, fixed pre-trained weights."""

    trained: ClassVar[bool] = True

    source: Dataset | None = None  # null: the data set that is distilled
    pretraining: Pretraining = field(default_factory=Pretraining)

    def check(self, experiment: Experiment) -> None:
        same_images(self.source, experiment.dataset)

    def members(self, validation_networks: int) -> list[str]:
        return ["fixed"]

    def population(self, problem: Problem, purpose: str, number: int, step: int = 0) -> list[Weights]:
        return problem.pool.networks(["fixed"])
