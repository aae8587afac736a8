"""The objectives: the outer loss L, the inner loss ℓ, and the metrics of success.

To add one: write one file here with a dataclass derived from `Objective`, and one YAML in `conf/objective/`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Outcome(NamedTuple):
    """The loss (scalar, with its graph) and the metrics (scalars, detached) of a batch."""

    loss: Tensor
    metrics: dict[str, Tensor]


@dataclass(frozen=True)
class Metric:
    """A measurement of trained networks: its name, its direction, and whether it is a share of 1."""

    name: str
    higher_is_better: bool = True
    percent: bool = True

    @property
    def label(self) -> str:
        """The name with spaces."""
        return self.name.replace("_", " ")

    @property
    def axis(self) -> str:
        """The name with the unit, for the axis of a chart."""
        return f"{self.label}, %" if self.percent else self.label

    @property
    def unit(self) -> int:
        """The factor that converts values to the unit of the axis."""
        return 100 if self.percent else 1

    def best(self, values: Iterable[float]) -> float:
        """Return the best of `values`."""
        return max(values) if self.higher_is_better else min(values)


ACCURACY = Metric("accuracy")

Loss = Callable[["Tensor", "Tensor"], "Tensor"]

_LOSSES: dict[str, Loss] = {}


def loss(function: Loss) -> Loss:
    """Register a loss under its name, which artifacts store."""
    _LOSSES[function.__name__] = function
    return function


def loss_by_name(name: str) -> Loss:
    """Return the loss called `name`, from any file of this folder. Raises ValueError if there is none."""
    if name not in _LOSSES:
        for module in pkgutil.iter_modules(__path__):
            importlib.import_module(f"{__name__}.{module.name}")
    if name not in _LOSSES:
        raise ValueError(f"unknown loss {name!r}")
    return _LOSSES[name]


@loss
def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over n; targets are classes (n,) or, as learned labels, one weight per class (n, classes)."""
    from torch.nn import functional

    return functional.cross_entropy(outputs, targets)


@dataclass
class Objective:
    """What the distilled data are optimized for: the losses of Eq 2 and Eq 3, and the metrics."""

    #: Whether the targets are numbers, (n, 1), instead of classes.
    numbers: ClassVar[bool] = False
    #: The name of ℓ, which the artifact stores.
    loss: ClassVar[str] = "cross_entropy"
    #: The metrics of `outcome`. Checkpoints are chosen by the first; tables show all.
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    #: Whether θ0 must come from training, and whether it must come from training on another dataset.
    trained_init: ClassVar[bool] = False
    other_source: ClassVar[bool] = False
    #: Whether the distilled data must have a single inner step.
    single_step: ClassVar[bool] = False
    #: The numbers of passes over its images that a gradient baseline tries (Section 4).
    baseline_epochs: ClassVar[tuple[int, ...]] = (1, 3, 5)

    @property
    def metric(self) -> Metric:
        """The metric that checkpoints are chosen by."""
        return self.metrics[0]

    def check(self, class_names: Sequence[str]) -> None:
        """Raise ConfigError if this objective names classes that are not among `class_names`."""

    def bind(self, class_names: Sequence[str]) -> Objective:
        """Return this objective for a dataset with these classes. Raises ConfigError as `check` does."""
        return self

    def relabel(self, labels: Tensor) -> Tensor:
        """Return the labels (n,) that the outer loss uses for images whose true labels are `labels`."""
        return labels

    def training_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """ℓ(x̃, θ) of Eq 2, which the inner steps minimize."""
        return loss_by_name(self.loss)(outputs, targets)

    def outcome(self, outputs: Tensor, targets: Tensor) -> Outcome:
        """L(θT; x, y) of Eq 3 on a real batch: outputs (n, classes), targets (n,)."""
        raise NotImplementedError

    def score(self, metrics: Mapping[str, float]) -> float:
        """Return the score of a baseline's mean metrics; the settings with the highest score are chosen."""
        value = metrics[self.metric.name]
        return value if self.metric.higher_is_better else -value
