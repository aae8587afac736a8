"""The options of the distilled data."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.errors import one_of, positive, refuse
from dataset_distillation.objectives import Objective


@dataclass
class Distilled:
    """The distilled data: `steps` batches of `images_per_class` images, used for `epochs` passes."""

    images_per_class: int = 1
    steps: int = 10
    epochs: int = 3
    learning_rate: float = 0.02
    start: str = "noise"
    labels: str = "fixed"

    def __post_init__(self) -> None:
        for name in ("images_per_class", "steps", "epochs", "learning_rate"):
            positive(f"distilled.{name}", getattr(self, name))
        one_of("distilled.start", self.start, ("noise", "real", "k_means"))
        one_of("distilled.labels", self.labels, ("fixed", "learned"))

    def check(self, objective: Objective, dataset: str) -> None:
        """Raise ConfigError unless these data can be distilled for `objective` from the dataset named so."""
        name = f"dataset.name={dataset}"
        if objective.numbers and self.labels == "fixed":
            allowed = f"{name} has numbers, and no class that one could be fixed to"
            raise refuse("distilled.labels", "fixed", allowed, "use distilled.labels=learned")
        if objective.numbers and self.start == "k_means":
            allowed = f"{name} has numbers, and no classes to find centroids of"
            raise refuse("distilled.start", "k_means", allowed, "use noise or real")
        if objective.single_step and (self.steps, self.epochs) != (1, 1):
            allowed = f"an attack is one gradient step (Eq 10), and distilled.epochs is {self.epochs}"
            raise refuse("distilled.steps", self.steps, allowed, "set both to 1")

    @property
    def inner_steps(self) -> int:
        """T, how many steps train a network: `steps` in each of the `epochs`."""
        return self.steps * self.epochs
