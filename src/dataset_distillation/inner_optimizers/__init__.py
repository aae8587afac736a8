"""How θt becomes θt+1.

To add one: one file here with a dataclass derived from `InnerOptimizer`, and one YAML in
`conf/inner_optimizer/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class InnerOptimizer:
    """The optimiser of the network; its rate comes from the distilled data, step by step."""

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser of `parameters`."""
        raise NotImplementedError


def by_name(name: str) -> InnerOptimizer:
    """The inner optimiser that an artifact names. Raises ValueError for any other name."""
    from dataset_distillation.inner_optimizers.sgd import SGD

    if name != "sgd":
        raise ValueError(f"unknown inner optimizer {name!r}")
    return SGD()
