"""How the networks of a pool are trained."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dataset_distillation.errors import member, positive


class PoolOptimizer(StrEnum):
    """What trains the networks of a pool."""

    adam = "adam"
    sgd = "sgd"


@dataclass
class Pretraining:
    """How a network of the pool is trained on the source, and where the pool is kept."""

    epochs: int = 1
    batch_size: int = 64
    optimizer: PoolOptimizer = PoolOptimizer.adam
    learning_rate: float = 0.005
    seed: int = 0
    folder: str = "pools"
    workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            positive(f"init.pretraining.{name}", getattr(self, name))
        self.optimizer = member("init.pretraining.optimizer", self.optimizer, PoolOptimizer)
        if self.workers is not None:
            positive("init.pretraining.workers", self.workers)
