"""One sample of p(θ0), the same in distillation and in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.errors import refuse
from dataset_distillation.init import Init

if TYPE_CHECKING:
    from dataset_distillation.architectures import Weights
    from dataset_distillation.problem import Problem


@dataclass
class Fixed(Init):
    """Section 3.5, fixed initialization."""

    known: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.networks != 1:
            raise refuse(
                "init.networks", self.networks, "a fixed initialization is one network", "use init=random"
            )

    def population(self, problem: Problem, purpose: str, number: int, step: int = 0) -> list[Weights]:
        return [problem.draw("fixed init")]
