"""Networks that predict numbers: the least-squares problem of Section 3.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.objectives import Metric, Objective, Outcome, loss

if TYPE_CHECKING:
    from torch import Tensor


@loss
def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Eq 5: ‖dθ − t‖² / (2N), for outputs and targets (N, 1)."""
    return (outputs - targets).square().sum() / (2 * len(targets))


@dataclass
class Regression(Objective):
    """Half the mean squared error (Eq 5) as the inner and the outer loss.

    On the validation and test splits of dataset=linear_regression it is the loss in excess of the optimum's.
    """

    numbers: ClassVar[bool] = True
    loss: ClassVar[str] = "half_squared_error"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("excess_loss", higher_is_better=False, percent=False),)

    def outcome(self, outputs: Tensor, targets: Tensor) -> Outcome:
        loss = self.training_loss(outputs, targets)
        return Outcome(loss, {"excess_loss": loss.detach()})
