"""The linear model of Section 3.3, for which the bound on the number of distilled images is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Linear(Architecture):
    """Outputs that are linear in the pixels; 7,850 weights at 1×28×28.

    weights: how θ0 is drawn, as in every architecture.
    bias: whether a bias is added to the outputs.
    """

    bias: bool = True

    @property
    def linear(self) -> bool:
        return not self.bias

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes, bias=self.bias))
