"""Where θ0 comes from: the distribution p(θ0) of Section 3.5.

To add one: one file here with a dataclass derived from `Init`, and one YAML in `conf/init/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.errors import positive

if TYPE_CHECKING:
    import torch

    from dataset_distillation.architectures import Weights

    Draw = Callable[[torch.Generator], Weights]


@dataclass
class Init:
    """p(θ0), and how many networks of it each outer step sees."""

    #: Whether θ0 is one known sample: it belongs to the artifact then.
    known: ClassVar[bool] = False

    networks: int = 1

    def __post_init__(self) -> None:
        positive("init.networks", self.networks)

    def population(self, draw: Draw, seed: int, purpose: str, step: int, number: int) -> list[Weights]:
        """`number` samples of θ0 for `purpose` at `step`; `draw` samples one network's weights."""
        raise NotImplementedError
