"""The options of the distilled data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dataset_distillation.errors import check_counts, count, member, positive, refuse
from dataset_distillation.objectives import Objective


class Start(StrEnum):
    """The first pixels: noise N(0, 1), real images, centroids of each class, or those of an artifact."""

    noise = "noise"
    real = "real"
    k_means = "k_means"
    artifact = "artifact"


class Labels(StrEnum):
    """Whether the labels are optimized, too: as free weights, or as probabilities."""

    fixed = "fixed"
    learned = "learned"
    probabilities = "probabilities"


LEARNED = frozenset(Labels) - {Labels.fixed}


class Rates(StrEnum):
    """Whether each inner step has its own learned rate, or all share one."""

    per_step = "per_step"
    shared = "shared"


class Order(StrEnum):
    """How the images of an inner batch are chosen: at random, or one batch after the other."""

    random = "random"
    in_order = "in_order"


@dataclass
class Distilled:
    """The distilled data: `steps` batches of images, used in `epochs` passes (Section 3.4).

    images_per_class: images of each class in each step.
    steps: inner steps per epoch, each with its own images.
    epochs: passes over the steps; each step of each epoch has its own learning rate.
    learning_rate: the initial value of all learning rates η̃.
    start: the first pixels: `noise` N(0, 1), `real` images, `k_means` centroids of each class, or those of an
        `artifact`, with its labels, and with its learning rates if they are as many.
    start_from: the path of that artifact.
    labels: `fixed`, or optimized together with the images: `learned` as free weights, or `probabilities`, the
        softmax of learned numbers divided by the temperature.
    temperature: of the probabilities; they begin as the softmax of 1 / temperature for the image's class and
        of 0 for the others.
    rates: `per_step`: each step of each epoch has a learning rate of its own; `shared`: all have one.
    inner_steps: the number of inner steps, which begin again with the first batch after the last; None:
        steps × epochs.
    batch_size: images of an inner step, taken from all images; None: the images of one of the `steps`.
    batch_order: how they are taken: `random`, or `in_order`.
    store_whitening: whether the artifact holds the matrix that whitens other images, if images are whitened.

    Raises ConfigError if a value is not allowed.
    """

    images_per_class: int = count(1, most=1_000_000)
    steps: int = count(10, most=1_000_000)
    epochs: int = count(3, most=1_000_000)
    learning_rate: float = 0.02
    start: Start = Start.noise
    start_from: str | None = None
    labels: Labels = Labels.fixed
    temperature: float = 0.2
    rates: Rates = Rates.per_step
    inner_steps: int | None = count(None, most=1_000_000)
    batch_size: int | None = count(None, most=1_000_000)
    batch_order: Order = Order.random
    store_whitening: bool = False

    def __post_init__(self) -> None:
        if self.start_from is not None:
            self.start_from = str(Path(self.start_from).expanduser())
        check_counts("distilled", self)
        positive("distilled.learning_rate", self.learning_rate)
        self.start = member("distilled.start", self.start, Start)
        if (self.start == "artifact") != (self.start_from is not None):
            remedy = "set both, as in distilled.start=artifact distilled.start_from=<distilled.safetensors>"
            raise refuse("distilled.start", self.start, "artifact belongs to distilled.start_from", remedy)
        self.labels = member("distilled.labels", self.labels, Labels)
        positive("distilled.temperature", self.temperature)
        self.rates = member("distilled.rates", self.rates, Rates)
        self.batch_order = member("distilled.batch_order", self.batch_order, Order)

    def check(self, objective: Objective, dataset: str) -> None:
        """Raise ConfigError unless these data can be distilled for `objective` from the dataset so named."""
        name = f"dataset.name={dataset}"
        if objective.numbers and self.labels != "learned":
            allowed = f"{name} has numbers, and no classes that labels could be"
            raise refuse("distilled.labels", self.labels, allowed, "use distilled.labels=learned")
        if objective.numbers and self.start == "k_means":
            allowed = f"{name} has numbers, and no classes whose centroids could be used"
            raise refuse("distilled.start", "k_means", allowed, "use noise or real")
        if objective.single_step and self.inner_steps not in (None, 1):
            raise refuse("distilled.inner_steps", self.inner_steps, "an attack is one gradient step (Eq 10)")
        if objective.single_step and (self.steps, self.epochs) != (1, 1):
            allowed = f"an attack is one gradient step (Eq 10), and distilled.epochs is {self.epochs}"
            raise refuse("distilled.steps", self.steps, allowed, "set both to 1")

    def check_begin(self) -> None:
        """Raise ConfigError for what no distillation can begin with, and an evaluation may have."""
        if self.inner_steps and not self.batch_size and self.inner_steps < self.steps:
            allowed = f"must be distilled.steps={self.steps} or more, else some images would stay unused"
            raise refuse("distilled.inner_steps", self.inner_steps, allowed, "or set distilled.batch_size")
        if self.start_from is not None and not Path(self.start_from).is_file():
            raise refuse("distilled.start_from", self.start_from, "no such file")

    @property
    def unrolled(self) -> int:
        """T, the number of steps that train a network: `steps` in each of the `epochs`, or `inner_steps`."""
        return self.inner_steps or self.steps * self.epochs

    @property
    def shape_of_rates(self) -> tuple[int, int]:
        """The shape of the learning rates: (epochs, steps), or (1, inner_steps), or one for all steps."""
        if self.rates == "shared":
            return (1, 1)
        return (1, self.inner_steps) if self.inner_steps else (self.epochs, self.steps)
