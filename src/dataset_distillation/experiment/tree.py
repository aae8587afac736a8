"""The typed tree of one experiment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from dataset_distillation.architectures import Architecture
from dataset_distillation.datasets import Dataset
from dataset_distillation.distilled.options import Distilled
from dataset_distillation.errors import refuse
from dataset_distillation.evaluation.options import Evaluation, Training
from dataset_distillation.experiment.checks import check_baselines
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
    outer: Outer = field(default_factory=Outer)
    evaluation: Evaluation = field(default_factory=Evaluation)
    trainer: Trainer = field(default_factory=Trainer)
    logger: Logger = MISSING
    seed: int = 0

    def __post_init__(self) -> None:
        size = self.dataset.image_size
        self.architecture.check((self.dataset.channels, size, size))
        self._check_targets()
        self.init.check(self)
        self.objective.check(self)
        self.unroll.check(self)
        if self.init.networks % self.trainer.devices:
            allowed = (
                f"must be a multiple of trainer.devices={self.trainer.devices}, which share the networks"
            )
            raise refuse("init.networks", self.init.networks, allowed)
        check_baselines(self)

    def _check_targets(self) -> None:
        """Classes or numbers: data set, objective and labels must agree."""
        dataset = f"dataset.name={self.dataset.name}"
        if self.objective.numbers and not self.dataset.numbers:
            allowed, remedy = f"predicts numbers, and {dataset} has classes", "take objective=standard"
        elif self.dataset.numbers and not self.objective.numbers:
            allowed, remedy = f"is about classes, and {dataset} has numbers", "take objective=regression"
        elif self.dataset.numbers and self.distilled.labels == "fixed":
            allowed = f"{dataset} has numbers, and no class that one could be fixed to"
            raise refuse("distilled.labels", "fixed", allowed, "take distilled.labels=learned")
        elif self.dataset.numbers and self.distilled.start == "k_means":
            allowed = f"{dataset} has numbers, and no classes to find centroids of"
            raise refuse("distilled.start", "k_means", allowed, "take noise or real")
        else:
            return
        raise refuse("objective", type(self.objective).__module__.rpartition(".")[2], allowed, remedy)


@dataclass
class Evaluate(Experiment):
    """What `distill-evaluate` is asked for: an artifact and how to train on it, or baselines alone."""

    artifact: str | None = None
    baselines: Any = None  # in place of those of `evaluation`
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        if self.baselines is not None:
            self.evaluation = dataclasses.replace(self.evaluation, baselines=self.baselines)
        super().__post_init__()
        if self.artifact is None and not self.evaluation.baselines:
            raise refuse(
                "artifact", "null", "there is nothing to evaluate", "give its path, or baselines=all"
            )
        if self.evaluation.networks == 0:
            raise refuse("evaluation.networks", 0, "must be greater than 0 to evaluate")
