"""Networks that classify the dataset that was distilled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.objectives import Objective, Outcome

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Standard(Objective):
    """Cross-entropy on real data (Eq 3)."""

    def outcome(self, outputs: Tensor, targets: Tensor) -> Outcome:
        accuracy = (outputs.argmax(dim=1) == targets).float().mean()
        return Outcome(self.training_loss(outputs, targets), {"accuracy": accuracy.detach()})
