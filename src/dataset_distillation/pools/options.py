"""How the networks of a pool are trained."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dataset_distillation.errors import check_counts, count, member, positive


class PoolOptimizer(StrEnum):
    """The optimizer that trains the networks of a pool."""

    adam = "adam"
    sgd = "sgd"


@dataclass
class Pretraining:
    """How a network of the pool is trained on the source (Section 3.5), and where the pool is stored.

    epochs: passes over the train split of the source.
    batch_size: images per step.
    optimizer: `adam`, or `sgd` with Nesterov momentum 0.9.
    learning_rate: the highest rate of the one-cycle schedule (Smith & Topin 2018).
    seed: the seed of the networks' first weights and batches, independent of the seed of the run.
    folder: the folder of all pools.
    workers: processes that train networks on a CPU, at most one per core; None: one per core.
    compile: whether they train by compiled programs, as the steps of `unroll=traced`; on a CPU alone. A LeNet
        takes 0.6 of the time (benchmarks/pools.py), after some seconds of compilation in each process. The
        networks differ by rounding, and are another pool.

    Raises ConfigError if a value is not allowed.
    """

    epochs: int = count(1, most=1000)
    batch_size: int = count(64, most=1_000_000)
    optimizer: PoolOptimizer = PoolOptimizer.adam
    learning_rate: float = 0.005
    seed: int = 0
    folder: str = "pools"
    workers: int | None = count(None, most=1024)
    compile: bool = False

    def __post_init__(self) -> None:
        check_counts("init.pretraining", self)
        positive("init.pretraining.learning_rate", self.learning_rate)
        self.optimizer = member("init.pretraining.optimizer", self.optimizer, PoolOptimizer)
