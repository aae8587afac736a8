"""Networks trained beforehand on a source data set: a pool for distillation, others for evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.datasets import Dataset
from dataset_distillation.errors import one_of, positive, refuse
from dataset_distillation.init import Init

if TYPE_CHECKING:
    from dataset_distillation.architectures import Weights
    from dataset_distillation.config import Experiment
    from dataset_distillation.problem import Problem


@dataclass
class Pretraining:
    """How a network of the pool is trained on the source, and where the pool is kept."""

    epochs: int = 1
    batch_size: int = 64
    optimizer: str = "adam"
    learning_rate: float = 0.005
    seed: int = 0
    folder: str = "pools"
    workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            positive(f"init.pretraining.{name}", getattr(self, name))
        one_of("init.pretraining.optimizer", self.optimizer, ("adam", "sgd"))
        if self.workers is not None:
            positive("init.pretraining.workers", self.workers)


def same_images(source: Dataset | None, target: Dataset) -> None:
    """Raise ConfigError unless `source` has classes, and images that fit the same network as `target`'s."""
    if (trained_on := source or target).numbers:
        raise refuse("init.source", trained_on.name, "only classifiers are pretrained", "take init=random")
    if source is None:
        return
    for key in ("channels", "image_size"):
        if (theirs := getattr(source, key)) != (ours := getattr(target, key)):
            raise refuse(
                f"init.source.{key}",
                theirs,
                f"dataset.{key} is {ours}, and one network takes both",
                f"set init.source.{key} and dataset.{key} to the same value",
            )


@dataclass
class Pretrained(Init):
    """Section 3.5, random pre-trained weights."""

    trained: ClassVar[bool] = True

    source: Dataset | None = None  # null: the data set that is distilled
    pool_size: int = 100
    held_out: int = 20
    pretraining: Pretraining = field(default_factory=Pretraining)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("init.pool_size", self.pool_size)
        if self.networks > self.pool_size:
            allowed = f"an outer step cannot see more networks than the pool has, {self.pool_size}"
            raise refuse("init.networks", self.networks, allowed, "raise init.pool_size")
        if self.held_out < 0:
            raise refuse("init.held_out", self.held_out, "must be 0 or more")

    def check(self, experiment: Experiment) -> None:
        same_images(self.source, experiment.dataset)

    def members(self, validation_networks: int) -> list[str]:
        return [
            *(f"init {j}" for j in range(self.pool_size)),
            *(f"validation {j}" for j in range(validation_networks)),
            *(f"held-out {j}" for j in range(self.held_out)),
        ]

    def population(self, problem: Problem, purpose: str, number: int, step: int = 0) -> list[Weights]:
        from torch import randperm

        from dataset_distillation.randomness import stream

        if purpose == "init":
            draw = stream(problem.experiment.seed, "pool", step)
            chosen = randperm(self.pool_size, generator=draw)[:number].tolist()
        elif purpose == "held-out" and number > self.held_out:
            raise refuse("init.held_out", self.held_out, f"evaluation needs {number} networks")
        else:
            chosen = list(range(number))
        return problem.pool.networks([f"{purpose} {j}" for j in chosen])
