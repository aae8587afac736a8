"""The network shall predict numbers: the least-squares problem of Section 3.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.objectives import Objective, Outcome

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Regression(Objective):
    """Eq 5 as the inner and the outer loss.

    On the validation and test splits of dataset=linear_regression it is the loss in excess of the optimum's.
    """

    numbers: ClassVar[bool] = True
    loss: ClassVar[str] = "half_squared_error"
    metric: ClassVar[str] = "excess_loss"

    def outcome(self, outputs: Tensor, targets: Tensor) -> Outcome:
        loss = self.training_loss(outputs, targets)
        return Outcome(loss, {"excess_loss": loss.detach()})
