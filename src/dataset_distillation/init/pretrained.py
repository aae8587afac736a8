"""Networks trained beforehand on a source dataset: a pool for distillation, and others for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import count, refuse
from dataset_distillation.init import Origin
from dataset_distillation.init.pooled import Pooled
from dataset_distillation.randomness import stream


@dataclass
class Pretrained(Pooled):
    """Random pre-trained weights (Section 3.5): networks drawn from a pool.

    networks: how many networks of the pool each outer step trains.
    source: the dataset that the networks are trained on; None: the dataset that is distilled.
    pretraining: how they are trained.
    pool_size: the number of networks in the pool, at least `networks`.
    held_out: the number of networks that only the evaluation uses.

    Raises ConfigError if a value is not allowed.
    """

    pool_size: int = count(100, most=100_000)
    held_out: int = count(20, most=100_000, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.networks > self.pool_size:
            allowed = f"an outer step cannot train more networks than the pool has, {self.pool_size}"
            raise refuse("init.networks", self.networks, allowed, "raise init.pool_size")

    def check_held_out(self, networks: int) -> None:
        if networks > self.held_out:
            raise refuse("init.held_out", self.held_out, f"evaluation needs {networks} networks", "raise it")

    def members(self, validation_networks: int) -> list[str]:
        return [
            *(f"init {j}" for j in range(self.pool_size)),
            *(f"validation {j}" for j in range(validation_networks)),
            *(f"held-out {j}" for j in range(self.held_out)),
        ]

    def population(self, origin: Origin, purpose: str, number: int, step: int = 0) -> list[Weights]:
        from torch import randperm

        if purpose == "held-out":
            self.check_held_out(number)
        chosen = list(range(number))
        if purpose == "init":
            generator = stream(origin.seed, "pool", step)
            chosen = randperm(self.pool_size, generator=generator)[:number].tolist()
        return [member.weights for member in self.pool(origin).members([f"{purpose} {j}" for j in chosen])]
