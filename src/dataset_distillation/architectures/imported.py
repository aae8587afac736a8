"""The user's own network."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation import user_code
from dataset_distillation.architectures import Architecture, WeightScheme, check_logits, stateless
from dataset_distillation.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Imported(Architecture):
    """`path`, package.networks:MyNet, is called with those of `channels`, `image_size`, `classes` it accepts.

    It is a class or a function that returns a network from images (n, channels, image_size, image_size) to
    logits (n, classes). BatchNorm in the network uses batch statistics, and dropout is off.
    """

    weights: WeightScheme = WeightScheme.own
    path: str = "???"

    def check(self, shape: tuple[int, int, int]) -> None:
        user_code.load("architecture.path", self.path)

    def number_of_weights(self, shape: tuple[int, int, int], classes: int) -> int:
        return 0  # only its author's code knows

    def modules(self, network: nn.Module) -> set[str]:
        return super().modules(network) | {self.path.partition(":")[0]}  # the path may name a function

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        import torch
        from torch import nn

        constructor = user_code.load("architecture.path", self.path)
        arguments = {"channels": shape[0], "image_size": shape[1], "classes": classes}
        network = user_code.call(self.path, constructor, **_accepted(constructor, arguments))
        if not isinstance(network, nn.Module):
            raise UserError(f"{self.path} returned a {type(network).__name__}: must return a torch.nn.Module")
        with torch.no_grad():
            logits = user_code.call(self.path, stateless(network), torch.zeros(2, *shape))
        check_logits(self.path, logits, classes)
        return network


def _accepted(constructor: Any, arguments: dict[str, int]) -> dict[str, int]:
    """Return the arguments that the constructor's signature names; all of them if it ends in **keywords."""
    parameters = inspect.signature(constructor).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return arguments
    return {name: value for name, value in arguments.items() if name in parameters}
