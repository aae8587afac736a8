"""The normalization of channels, which several networks offer as an option."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture, WeightScheme, square
from dataset_distillation.errors import check_counts, choice_of, count, member, refuse

if TYPE_CHECKING:
    from torch import nn


class Norm(StrEnum):
    """The normalization of the channels in a block."""

    instance = "instance"
    group = "group"
    batch = "batch"
    none = "none"


GROUPS = 4  # for norm=group, as in the code of Zhao et al.


@dataclass
class Normed(Architecture):
    """A network whose blocks have `width` channels, or multiples of it, which `norm` normalizes."""

    weights: WeightScheme = field(default=WeightScheme.own, metadata={"absent": WeightScheme.xavier})
    width: int = count(64, most=100_000)
    norm: Norm = Norm.instance

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts("architecture", self)
        self.norm = member("architecture.norm", self.norm, Norm)
        if self.norm == "group" and self.width % GROUPS:
            raise refuse("architecture.width", self.width, f"must be a multiple of {GROUPS} with norm=group")


class Small(Normed):
    """A network for images of 32 pixels, or of MNIST's 28, which are padded to 32."""

    def check(self, shape: tuple[int, int, int]) -> None:
        square(choice_of(self), shape, [28, 32])


def layers(norm: Norm, width: int) -> list[nn.Module]:
    """Return the layers that normalize `width` channels: one, or none."""
    from torch import nn

    if norm == "none":
        return []
    if norm == "batch":
        # Running statistics would be a state beside the weights, which no gradient crosses.
        return [nn.BatchNorm2d(width, track_running_stats=False)]
    # One group per channel is InstanceNorm with scales; GroupNorm works alike in training and evaluation.
    return [nn.GroupNorm(width if norm == "instance" else GROUPS, width)]
