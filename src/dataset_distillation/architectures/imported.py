"""The user's own network."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation import user_code
from dataset_distillation.architectures import (
    Architecture,
    WeightScheme,
    check_logits,
    check_trained,
    stateless,
)
from dataset_distillation.errors import UserError, refuse

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Imported(Architecture):
    """`path`, package.networks:MyNet or nets.py:MyNet, is called and returns the network.

    It is a class or a function. It is called with `arguments` and with those of `channels`, `image_size` and
    `classes` that it accepts, and returns a network from images (n, channels, image_size, image_size) to
    logits (n, classes). BatchNorm in the network uses batch statistics, and dropout is off.
    """

    weights: WeightScheme = WeightScheme.own
    path: str = "???"
    arguments: Any = None  # or a dict; Hydra cannot fill one that is typed

    def __post_init__(self) -> None:
        super().__post_init__()
        own = self.arguments
        if own is not None and not (isinstance(own, dict) and all(isinstance(name, str) for name in own)):
            raise refuse("architecture.arguments", own, "must be names with values, as in '{width: 64}'")

    def check(self, shape: tuple[int, int, int]) -> None:
        constructor = user_code.load("architecture.path", self.path)
        self._accepted(constructor, {"channels": shape[0], "image_size": shape[1], "classes": "..."})

    def number_of_weights(self, shape: tuple[int, int, int], classes: int) -> int:
        return 0  # only its author's code knows

    def modules(self, network: nn.Module) -> set[str]:
        return super().modules(network) | {user_code.module_of(self.path)}  # the path may name a function

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        import torch
        from torch import nn

        constructor = user_code.load("architecture.path", self.path)
        offered = {"channels": shape[0], "image_size": shape[1], "classes": classes}
        given = self._accepted(constructor, offered)
        called = f"{self.path}({', '.join(f'{name}={value!r}' for name, value in given.items())})"
        network = user_code.call(called, constructor, **given)
        if not isinstance(network, nn.Module):
            raise UserError(f"{self.path} returned a {type(network).__name__}: must return a torch.nn.Module")
        network = network.float()  # the data are in single precision
        with torch.no_grad():
            logits = user_code.call(self.path, stateless(network), torch.zeros(2, *shape))
        check_logits(self.path, logits, classes)
        check_trained(self.path, network)
        return network

    def _accepted(self, constructor: Any, offered: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the user, and those of `offered` that the constructor's signature names.

        If it ends in **keywords, it gets all of them. Raises ConfigError if it needs others.
        """
        try:
            signature = inspect.signature(constructor)
        except (TypeError, ValueError) as error:
            allowed = "must be a class or a function that returns a torch.nn.Module"
            raise refuse("architecture.path", self.path, allowed) from error
        names, own = signature.parameters, self.arguments or {}
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in names.values()):
            given = {**offered, **own}
        else:
            given = {name: value for name, value in offered.items() if name in names} | own
        try:
            signature.bind(**given)
        except TypeError as error:
            told = ", ".join(f"{name}={value}" for name, value in offered.items())
            allowed = f"its signature is {signature}, and it was offered {told} and architecture.arguments="
            allowed += f"{own}: {error}"
            remedy = "give what it needs by architecture.arguments='{width: 64}'"
            raise refuse("architecture.path", self.path, allowed, remedy) from error
        return given
