"""Poisoning: one step on the distilled images makes good networks take one class for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.errors import refuse
from dataset_distillation.objectives import ACCURACY, Metric, Objective, Outcome

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Attack(Objective):
    """Section 3.6, Eq 10: cross-entropy with the labels of class K changed to T, θ0 well trained."""

    trained_init: ClassVar[bool] = True
    single_step: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        ACCURACY,
        Metric("attacked_as_target"),
        Metric("attacked_accuracy", higher_is_better=False),
        Metric("others_accuracy"),
    )
    baseline_epochs: ClassVar[tuple[int, ...]] = (1,)  # a single step (Section 4)

    attacked_class: str = "0"
    target_class: str = "1"

    def check(self, class_names: Sequence[str]) -> None:
        self._indices(class_names)

    def bind(self, class_names: Sequence[str]) -> Attack:
        attacked, target = self._indices(class_names)
        return replace(self, attacked_class=str(attacked), target_class=str(target))

    def _indices(self, class_names: Sequence[str]) -> tuple[int, int]:
        attacked = _index("objective.attacked_class", self.attacked_class, class_names)
        target = _index("objective.target_class", self.target_class, class_names)
        if attacked == target:
            raise refuse(
                "objective.target_class", self.target_class, "is the attacked class too", "choose another"
            )
        return attacked, target

    def relabel(self, labels: Tensor) -> Tensor:
        return labels.masked_fill(labels == int(self.attacked_class), int(self.target_class))

    def outcome(self, outputs: Tensor, targets: Tensor) -> Outcome:
        """`accuracy` is with regard to the modified labels, the other metrics to the true ones.

        They are NaN where a batch has no such image.
        """
        predicted, wanted = outputs.argmax(dim=1), self.relabel(targets)
        attacked = targets == int(self.attacked_class)
        metrics = {
            "accuracy": predicted == wanted,
            "attacked_as_target": predicted[attacked] == int(self.target_class),
            "attacked_accuracy": predicted[attacked] == int(self.attacked_class),
            "others_accuracy": (predicted == targets)[~attacked],
        }
        loss = self.training_loss(outputs, wanted)
        return Outcome(loss, {name: hits.float().mean().detach() for name, hits in metrics.items()})

    def score(self, metrics: Mapping[str, float]) -> float:
        """The accuracy, if at least 10 % of the attacked class are taken for the target (Figure 6)."""
        return metrics["accuracy"] if metrics["attacked_as_target"] >= 0.1 else metrics["accuracy"] - 1


def _index(key: str, wanted: str, class_names: Sequence[str]) -> int:
    """The class called `wanted`, or else number `wanted`."""
    if wanted in class_names:
        return list(class_names).index(wanted)
    if wanted.isdigit() and int(wanted) < len(class_names):
        return int(wanted)
    shown = ", ".join(class_names[:20]) + (", ..." if len(class_names) > 20 else "")
    raise refuse(key, wanted, f"must be a class, {shown}, or its index, 0 to {len(class_names) - 1}")
