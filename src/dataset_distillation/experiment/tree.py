"""The typed tree of one experiment."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from dataset_distillation.architectures import Architecture
from dataset_distillation.augmentation import Augmentation
from dataset_distillation.datasets import Dataset
from dataset_distillation.distilled.options import Distilled
from dataset_distillation.errors import choice_of
from dataset_distillation.evaluation.options import Evaluation, Training
from dataset_distillation.init import Init
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.loggers import Logger
from dataset_distillation.objectives import Objective
from dataset_distillation.outer.options import Outer, Trainer
from dataset_distillation.unroll import Unroll


@dataclass
class Experiment:
    """Everything that determines a run."""

    dataset: Dataset = MISSING
    architecture: Architecture = MISSING
    init: Init = MISSING
    objective: Objective = MISSING
    distilled: Distilled = field(default_factory=Distilled)
    unroll: Unroll = MISSING
    inner_optimizer: InnerOptimizer = MISSING
    augmentation: Augmentation = field(default=MISSING, metadata={"absent": "none"})
    outer: Outer = field(default_factory=Outer)
    evaluation: Evaluation = field(default_factory=Evaluation)
    # Runs without the key trained as the images were made for, so its kind must not change their digest.
    training: Training = field(default_factory=Training, metadata={"absent": choice_of(Training())})
    trainer: Trainer = field(default_factory=Trainer)
    logger: Logger = MISSING
    seed: int = 0


@dataclass
class Evaluate(Experiment):
    """The input of `distill-evaluate`: an artifact, or baselines alone."""

    artifact: str | None = None
    baselines: Any = None  # replaces the baselines of `evaluation`
    allow_seen: bool = False  # judge although test images were among those that the artifact was made from
    explain: bool = (
        False  # judge the set with one factor changed, too: normalization, labels, initial weights, ...
    )

    def __post_init__(self) -> None:
        if self.artifact is not None:
            self.artifact = os.path.expanduser(self.artifact)
        if self.baselines is not None:
            self.evaluation = dataclasses.replace(self.evaluation, baselines=self.baselines)
