"""How the networks of a pool are trained."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.errors import one_of, positive


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
