"""Poisoning: one step on the distilled images makes good networks misclassify one class as another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.errors import ConfigError, refuse
from dataset_distillation.objectives import ACCURACY, Metric, Objective, Outcome

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Attack(Objective):
    """Poisoning (Section 3.6, Eq 10): cross-entropy with the labels of class K changed to T, θ0 well trained.

    attacked_class: K, the name or the number of the class that is to be misclassified.
    target_class: T, the class that K is to be misclassified as.

    Raises ConfigError if the two are equal, and in `check` if the dataset has no such class.
    """

    trained_init: ClassVar[bool] = True
    single_step: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        ACCURACY,
        Metric("attacked_as_target"),
        Metric("attacked_accuracy", higher_is_better=False),
        Metric("others_accuracy"),
    )
    baseline_epochs: ClassVar[tuple[int, ...]] = (1,)  # the attack is a single step (Section 4)

    attacked_class: str = "0"
    target_class: str = "1"

    def __post_init__(self) -> None:
        if self.attacked_class == self.target_class:
            raise self._same()

    def check(self, class_names: Sequence[str]) -> None:
        self._indices(class_names)

    def bind(self, class_names: Sequence[str]) -> Attack:
        attacked, target = self._indices(class_names)
        return replace(self, attacked_class=str(attacked), target_class=str(target))

    def _indices(self, class_names: Sequence[str]) -> tuple[int, int]:
        attacked = _index("objective.attacked_class", self.attacked_class, class_names)
        target = _index("objective.target_class", self.target_class, class_names)
        if attacked == target:
            raise self._same()
        return attacked, target

    def _same(self) -> ConfigError:
        allowed = "is the attacked class too"
        return refuse("objective.target_class", self.target_class, allowed, "choose another")

    def relabel(self, labels: Tensor) -> Tensor:
        return labels.masked_fill(labels == int(self.attacked_class), int(self.target_class))

    def outcome(self, outputs: Tensor, targets: Tensor) -> Outcome:
        """Return the loss and the metrics; only `accuracy` refers to the modified labels.

        A metric is NaN if a batch has no image for it.
        """
        predicted, modified = outputs.argmax(dim=1), self.relabel(targets)
        attacked = targets == int(self.attacked_class)
        metrics = {
            "accuracy": predicted == modified,
            "attacked_as_target": predicted[attacked] == int(self.target_class),
            "attacked_accuracy": predicted[attacked] == int(self.attacked_class),
            "others_accuracy": (predicted == targets)[~attacked],
        }
        loss = self.training_loss(outputs, modified)
        return Outcome(loss, {name: hits.float().mean().detach() for name, hits in metrics.items()})

    def score(self, metrics: Mapping[str, float]) -> float:
        """The accuracy, less 1 unless 10 % of the attacked class are classified as the target (Figure 6)."""
        return metrics["accuracy"] if metrics["attacked_as_target"] >= 0.1 else metrics["accuracy"] - 1


def _index(key: str, name: str, class_names: Sequence[str]) -> int:
    """Return the index of the class called `name`, or number `name`."""
    name = str(name)  # a program may give the number
    if name in class_names:
        return list(class_names).index(name)
    if name.isascii() and name.isdigit() and int(name) < len(class_names):
        return int(name)
    allowed = ", ".join(class_names[:20]) + (", ..." if len(class_names) > 20 else "")
    raise refuse(key, name, f"must be a class, {allowed}, or its index, 0 to {len(class_names) - 1}")
