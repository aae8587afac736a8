"""How θt becomes θt+1.

To add one: one file here with a dataclass derived from `InnerOptimizer`, and one YAML in
`conf/inner_optimizer/`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Step(NamedTuple):
    """One inner step: images (n, channels, height, width), labels (n,), a scalar learning rate."""

    images: Tensor
    labels: Tensor
    learning_rate: Tensor


@dataclass
class InnerOptimizer:
    """The optimiser of the network; its rate comes from the distilled data, step by step."""

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser of `parameters`."""
        raise NotImplementedError


def by_name(name: str) -> InnerOptimizer:
    """The inner optimiser of the file `name`. Raises ValueError if there is none."""
    if name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        raise ValueError(f"unknown inner optimizer {name!r}")
    importlib.import_module(f"{__name__}.{name}")
    [kind] = [kind for kind in InnerOptimizer.__subclasses__() if kind.__module__ == f"{__name__}.{name}"]
    return kind()
