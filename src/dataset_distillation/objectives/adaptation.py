"""Networks trained on a source dataset learn to classify another one in a few steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataset_distillation.objectives.standard import Standard


@dataclass
class Adaptation(Standard):
    """Adaptation (Section 4): Eq 3 on the target dataset, with θ0 trained on the source."""

    trained_init: ClassVar[bool] = True
    other_source: ClassVar[bool] = True
