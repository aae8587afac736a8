"""Networks trained on a source dataset shall classify another one after a few steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataset_distillation.objectives.standard import Standard


@dataclass
class Adaptation(Standard):
    """Section 4, adaptation: Eq 3 on the target, with θ0 trained on the source."""

    trained_init: ClassVar[bool] = True
    other_source: ClassVar[bool] = True
