"""The outer loss L, the inner loss ℓ, and what success means.

To add one: one file here with a dataclass derived from `Objective`, and one YAML in `conf/objective/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Outcome(NamedTuple):
    """The loss (scalar, with its graph) and the metrics (scalars, detached) of a batch."""

    loss: Tensor
    metrics: dict[str, Tensor]


def is_loss(metric: str) -> bool:
    """Whether less of `metric` is better; every other metric is a share of 1, of which more is better."""
    return metric.endswith("loss")


def shown(primary: str, metrics: Iterable[str]) -> list[str]:
    """Those of the `metrics` that people are shown, `primary` first; of the losses none but that."""
    return [name for name in dict.fromkeys([primary, *metrics]) if name == primary or not is_loss(name)]


def best(metric: str) -> Callable[..., Any]:
    """max or min: what chooses by `metric`."""
    return min if is_loss(metric) else max


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over n; targets are classes (n,) or, as learned labels, a weight for each class (n, classes)."""
    from torch.nn import functional

    return functional.cross_entropy(outputs, targets)


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Eq 5: ‖dθ − t‖² / (2N), for outputs and targets (N, 1)."""
    return (outputs - targets).square().sum() / (2 * len(targets))


LOSSES = {loss.__name__: loss for loss in (cross_entropy, half_squared_error)}


@dataclass
class Objective:
    """What the distilled data are optimised for."""

    #: Whether the targets are numbers, (n, 1), instead of classes.
    numbers: ClassVar[bool] = False
    #: ℓ, by its name in LOSSES; the artifact holds it.
    loss: ClassVar[str] = "cross_entropy"
    #: The first of the metrics of `outcome`: checkpoints are chosen by it, and tables show it.
    metric: ClassVar[str] = "accuracy"
    #: Whether θ0 must come from training, and then from that on another dataset.
    trained_init: ClassVar[bool] = False
    other_source: ClassVar[bool] = False
    #: Whether the distilled data are for a single inner step.
    single_step: ClassVar[bool] = False
    #: Passes over its images that a gradient baseline tries (Section 4).
    baseline_epochs: ClassVar[tuple[int, ...]] = (1, 3, 5)

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
        return LOSSES[self.loss](outputs, targets)

    def outcome(self, outputs: Tensor, targets: Tensor) -> Outcome:
        """L(θT; x, y) of Eq 3 on a real batch: outputs (n, classes), targets (n,)."""
        raise NotImplementedError

    def score(self, metrics: Mapping[str, float]) -> float:
        """What the choice of a baseline's settings maximises, of the mean metrics of its runs."""
        return -metrics[self.metric] if is_loss(self.metric) else metrics[self.metric]
