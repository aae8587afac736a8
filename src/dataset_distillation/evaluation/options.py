"""The options of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dataset_distillation.architectures import Architecture
from dataset_distillation.augmentation import Augmentation
from dataset_distillation.distilled.options import Distilled
from dataset_distillation.errors import check_counts, choice_of, count, member, one_of, positive, refuse
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.objectives import Objective

#: The baselines of `evaluation.baselines=all`. The cheap ones come first, so that their rows can be read
#: while the others run. closed_form is not among them: it applies to linear regression only.
BASELINES = (
    "random_real",
    "average_real",
    "herding",
    "k_center",
    "k_means",
    "optimized_real",
    "nearest_neighbour_random_real",
    "nearest_neighbour_k_means",
    "full_training",
)
#: Later methods, which are no part of `all`.
MATCHING = ("distribution_matching", "gradient_matching")


class Selection(StrEnum):
    """Where the settings of a baseline are chosen: on the validation split, or by the result to report."""

    validation = "validation"
    paper = "paper"


class Statistics(StrEnum):
    """What BatchNorm normalizes test images by: the images of the training, or each batch of test images."""

    training = "training"
    batch = "batch"


class Order(StrEnum):
    """The order of the steps within an epoch."""

    learned = "learned"
    shuffled = "shuffled"


@dataclass
class Evaluation:
    """Which networks judge the distilled data, when, and against which baselines.

    networks: held-out networks that judge at the end; 0: no evaluation.
    architectures: names of other architectures, whose networks judge the distilled data, too: a row for each.
    baselines: a list of names, one name, or `all` (Section 4).
    selection: where the settings of a baseline are chosen: on the `validation` split, or, as in the `paper`,
        by the result on the test split among the paper's.
    baseline_length: with selection=validation, a baseline that trains by gradients stops where the validation
        is best, after at most so many times the inner steps of the distilled data; None: after 1, 3 or 5
        epochs or as many as the distilled data, at one rate, as in runs before this option.
    matching_steps: steps of SGD that distribution_matching and gradient_matching take on their images.
    validation_networks: networks that validate the distilled data during the optimization.
    validation_images: images of the validation split that they are tested on.
    validation_every: outer steps between two validations.
    batch_norm: what BatchNorm normalizes test images by: the statistics of the images of the `training`, or
        those of each `batch` of test images, as in runs before this option. Networks before their training
        use those of each batch.

    Raises ConfigError if a value is not allowed.
    """

    networks: int = count(20, most=100_000, least=0)
    architectures: list[str] = field(default_factory=list)
    baselines: Any = field(default_factory=lambda: ["random_real", "full_training"])
    selection: Selection = Selection.validation
    baseline_length: int | None = count(10, most=1000, absent=None)
    matching_steps: int = count(1000, most=100_000_000)
    validation_networks: int = count(8, most=100_000)
    validation_images: int = count(2000, most=100_000_000)
    validation_every: int = count(200, most=100_000_000)
    batch_norm: Statistics = field(default=Statistics.training, metadata={"absent": Statistics.batch})

    def __post_init__(self) -> None:
        check_counts("evaluation", self)
        self.selection = member("evaluation.selection", self.selection, Selection)
        self.batch_norm = member("evaluation.batch_norm", self.batch_norm, Statistics)
        self.architectures = list(dict.fromkeys(self.architectures))
        names = [self.baselines] if isinstance(self.baselines, str) else list(self.baselines or [])
        for name in names:
            one_of("evaluation.baselines", str(name), ("all", *BASELINES, *MATCHING, "closed_form"))
        expanded = [each for name in names for each in (BASELINES if name == "all" else (name,))]
        self.baselines = list(dict.fromkeys(expanded))

    def check(
        self, objective: Objective, dataset: str, distilled: Distilled, architecture: Architecture
    ) -> None:
        """Raise ConfigError unless the baselines fit the dataset's targets, which are classes or numbers."""
        key, name = "evaluation.baselines", f"dataset.name={dataset}"
        for other in self.baselines if objective.numbers else []:
            if other != "closed_form":
                allowed, remedy = f"predicts classes, and {name} has numbers", "use [closed_form] or []"
                raise refuse(key, other, allowed, remedy)
        if "closed_form" not in self.baselines:
            return
        if not objective.numbers:
            allowed = f"is for linear regression, and {name} has classes"
            raise refuse(key, "closed_form", allowed, "leave it out")
        for one in ("steps", "epochs", "inner_steps"):
            if (value := getattr(distilled, one)) not in (None, 1):
                raise refuse(f"distilled.{one}", value, "must be 1 with evaluation.baselines=[closed_form]")
        if not architecture.linear:
            name, needed = choice_of(architecture), "with evaluation.baselines=[closed_form]"
            if name == "linear":
                raise refuse("architecture.bias", True, f"must be false {needed}")
            remedy = "use architecture=linear architecture.bias=false"
            raise refuse("architecture", name, f"must be linear {needed}", remedy)


@dataclass
class Training:
    """How held-out networks are trained on distilled data; None: as the data were made for.

    epochs: passes over the distilled steps as they are stored; those beyond the learned ones repeat the last
        learning rates.
    order: the order of the steps in an epoch: `learned`, or `shuffled` anew in each epoch.
    learning_rate: one learning rate for all steps, instead of the learned ones.
    mean_rate: one learning rate for all steps: the mean of the learned ones.
    batch_size: images per step, drawn from all steps; it needs a `learning_rate`, or `mean_rate`.
    decay: the factor of the learning rates in the second half of the epochs.
    optimizer: the optimizer of the networks.
    augmentation: how the images of each step are changed at random.
    running_statistics: whether BatchNorm normalizes test images by moving averages of the statistics of the
        batches that it was trained on, as in ordinary training.

    Raises ConfigError if a value is not allowed.
    """

    epochs: int | None = count(None, most=100_000)
    order: Order = Order.learned
    learning_rate: float | None = None
    mean_rate: bool = False
    batch_size: int | None = count(None, most=1_000_000)
    decay: float = 1.0
    optimizer: InnerOptimizer | None = None
    augmentation: Augmentation | None = None
    running_statistics: bool = False

    def __post_init__(self) -> None:
        self.order = member("training.order", self.order, Order)
        check_counts("training", self)
        positive("training.decay", self.decay)
        if self.learning_rate is not None:
            positive("training.learning_rate", self.learning_rate)
            if self.mean_rate:
                remedy = "set training.learning_rate=null, or training.mean_rate=false"
                raise refuse("training.mean_rate", True, "there is a training.learning_rate, too", remedy)
        if self.batch_size and not self.learning_rate and not self.mean_rate:
            allowed = "the learned rates belong to the distilled steps"
            remedy = "set training.learning_rate too, or training.mean_rate=true"
            raise refuse("training.batch_size", self.batch_size, allowed, remedy)

    @property
    def ordinary(self) -> bool:
        """Whether it has one rate for all steps: then all methods are trained alike."""
        return bool(self.learning_rate) or self.mean_rate
