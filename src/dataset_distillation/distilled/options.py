"""The options of the distilled data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dataset_distillation.errors import check_counts, count, member, positive, refuse
from dataset_distillation.objectives import Objective


class Start(StrEnum):
    """The first pixels: noise N(0, 1), real images, or centroids of each class."""

    noise = "noise"
    real = "real"
    k_means = "k_means"


class Labels(StrEnum):
    """Whether the labels are optimized, too."""

    fixed = "fixed"
    learned = "learned"


@dataclass
class Distilled:
    """The distilled data: `steps` batches of images, used in `epochs` passes (Section 3.4).

    images_per_class: images of each class in each step.
    steps: inner steps per epoch, each with its own images.
    epochs: passes over the steps; each step of each epoch has its own learning rate.
    learning_rate: the initial value of all learning rates η̃.
    start: the first pixels: `noise` N(0, 1), `real` images, or `k_means` centroids of each class.
    labels: `fixed`, or `learned` together with the images.

    Raises ConfigError if a value is not allowed.
    """

    images_per_class: int = count(1, most=1_000_000)
    steps: int = count(10, most=1_000_000)
    epochs: int = count(3, most=1_000_000)
    learning_rate: float = 0.02
    start: Start = Start.noise
    labels: Labels = Labels.fixed

    def __post_init__(self) -> None:
        check_counts("distilled", self)
        positive("distilled.learning_rate", self.learning_rate)
        self.start = member("distilled.start", self.start, Start)
        self.labels = member("distilled.labels", self.labels, Labels)

    def check(self, objective: Objective, dataset: str) -> None:
        """Raise ConfigError unless these data can be distilled for `objective` from the dataset so named."""
        name = f"dataset.name={dataset}"
        if objective.numbers and self.labels == "fixed":
            allowed = f"{name} has numbers, and no classes that labels could be fixed to"
            raise refuse("distilled.labels", "fixed", allowed, "use distilled.labels=learned")
        if objective.numbers and self.start == "k_means":
            allowed = f"{name} has numbers, and no classes whose centroids could be used"
            raise refuse("distilled.start", "k_means", allowed, "use noise or real")
        if objective.single_step and (self.steps, self.epochs) != (1, 1):
            allowed = f"an attack is one gradient step (Eq 10), and distilled.epochs is {self.epochs}"
            raise refuse("distilled.steps", self.steps, allowed, "set both to 1")

    @property
    def inner_steps(self) -> int:
        """T, the number of steps that train a network: `steps` in each of the `epochs`."""
        return self.steps * self.epochs
