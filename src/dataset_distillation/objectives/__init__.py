"""The outer loss L, the inner loss ℓ, and what success means.

To add one: one file here with a dataclass derived from `Objective`, and one YAML in `conf/objective/`.
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
    """What is measured of trained networks: its name, its direction, and whether it is a share of 1."""

    name: str
    higher_is_better: bool = True
    percent: bool = True

    @property
    def label(self) -> str:
        return self.name.replace("_", " ")

    @property
    def axis(self) -> str:
        """The name with the unit, as it stands on an axis."""
        return f"{self.label}, %" if self.percent else self.label

    @property
    def unit(self) -> int:
        """What values are multiplied by to be in the unit of the axis."""
        return 100 if self.percent else 1

    def best(self, values: Iterable[float]) -> float:
        return max(values) if self.higher_is_better else min(values)


ACCURACY = Metric("accuracy")

Loss = Callable[["Tensor", "Tensor"], "Tensor"]

_LOSSES: dict[str, Loss] = {}


def loss(function: Loss) -> Loss:
    """Make a loss known under its name, which artifacts hold."""
    _LOSSES[function.__name__] = function
    return function


def loss_by_name(name: str) -> Loss:
    """The loss called `name`, in whichever file of this folder. Raises ValueError if there is none."""
    if name not in _LOSSES:
        for module in pkgutil.iter_modules(__path__):
            importlib.import_module(f"{__name__}.{module.name}")
    if name not in _LOSSES:
        raise ValueError(f"unknown loss {name!r}")
    return _LOSSES[name]


@loss
def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over n; targets are classes (n,) or, as learned labels, a weight for each class (n, classes)."""
    from torch.nn import functional

    return functional.cross_entropy(outputs, targets)


@dataclass
class Objective:
    """What the distilled data are optimised for."""

    #: Whether the targets are numbers, (n, 1), instead of classes.
    numbers: ClassVar[bool] = False
    #: ℓ, by its name; the artifact holds it.
    loss: ClassVar[str] = "cross_entropy"
    #: Those of `outcome`. Checkpoints are chosen by the first; tables show all.
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    #: Whether θ0 must come from training, and then from that on another dataset.
    trained_init: ClassVar[bool] = False
    other_source: ClassVar[bool] = False
    #: Whether the distilled data are for a single inner step.
    single_step: ClassVar[bool] = False
    #: Passes over its images that a gradient baseline tries (Section 4).
    baseline_epochs: ClassVar[tuple[int, ...]] = (1, 3, 5)

    @property
    def metric(self) -> Metric:
        return self.metrics[0]

    def check(self, class_names: Sequence[str]) -> None:
        """Raise ConfigError if this objective names other classes than these."""

    def bind(self, class_names: Sequence[str]) -> Objective:
        """This objective for a data set of these classes. Raises ConfigError if it names others."""
        return self

    def relabel(self, labels: Tensor) -> Tensor:
        """The labels that the outer loss asks for, (n,), of images whose true ones are `labels`."""
        return labels

    def training_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """ℓ(x̃, θ) of Eq 2, minimised by the inner steps."""
        return loss_by_name(self.loss)(outputs, targets)

    def outcome(self, outputs: Tensor, targets: Tensor) -> Outcome:
        """L(θT; x, y) of Eq 3 on a real batch: outputs (n, classes), targets (n,)."""
        raise NotImplementedError

    def score(self, metrics: Mapping[str, float]) -> float:
        """What the choice of a baseline's settings maximises, of the mean metrics of its runs."""
        value = metrics[self.metric.name]
        return value if self.metric.higher_is_better else -value
