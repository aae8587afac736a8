"""One sample of p(θ0), the same in distillation and in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import refuse
from dataset_distillation.init import Init, Origin


@dataclass
class Fixed(Init):
    """Fixed initialization (Section 3.5): one sample of p(θ0), the same in distillation and in evaluation.

    networks: must be 1, since θ0 is one network.

    Raises ConfigError if it is not.
    """

    known: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.networks != 1:
            raise refuse(
                "init.networks", self.networks, "a fixed initialization is one network", "use init=random"
            )

    def population(self, origin: Origin, purpose: str, number: int, step: int = 0) -> list[Weights]:
        return [origin.draw("fixed init")]
