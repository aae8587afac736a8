"""A network that a Python program has built; a config cannot name it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from dataset_distillation import user_code
from dataset_distillation.architectures import (
    Architecture,
    WeightScheme,
    check_logits,
    check_trained,
    stateless,
)
from dataset_distillation.datasets.data import Specification
from dataset_distillation.errors import UserError, member

if TYPE_CHECKING:
    import torch
    from torch import nn


class Given(Architecture):
    """A copy of your own network, from images (n, channels, size, size) to logits (n, classes).

    It computes in single precision. Its BatchNorm uses the statistics of the batch, and its dropout is off.

    network: the module to copy; its parameters give θ its form.
    weights: how θ0 is drawn: `xavier` (the paper's), `kaiming`, `orthogonal`, or `own`: by the
        `reset_parameters` of its layers.

    Raises UserError if the network has no parameters, has lazy ones without a shape, or does not fit the
    images and classes, and ConfigError if there is no such scheme.
    """

    def __init__(self, network: nn.Module, weights: str = "xavier") -> None:
        from torch.nn.parameter import is_lazy

        self.weights = member("weights", weights, WeightScheme)
        if lazy := [name for name, parameter in network.named_parameters() if is_lazy(parameter)]:
            raise UserError(f"the network: {lazy[0]} has no shape yet: call the network once on an image")
        self._network = stateless(copy.deepcopy(network).float())

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        import torch

        network = copy.deepcopy(self._network)
        check_trained("the network", network)
        try:
            with torch.no_grad():
                logits = network(torch.zeros(2, *shape).to(next(network.parameters())))
        except Exception as error:
            reason = user_code.describe(error)
            raise UserError(f"the network does not accept images of shape {shape} ({reason})") from error
        check_logits("the network", logits, classes)
        return network

    def number_of_weights(self, shape: tuple[int, int, int], classes: int) -> int:
        return sum(weight.numel() for weight in self._network.parameters())

    def rebuilt(self, generator: torch.Generator, specification: Specification) -> nn.Module:
        import torch

        network = copy.deepcopy(self._network).cpu()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(generator.initial_seed())
            for module in network.modules():
                for name in ("reset_parameters", "_reset_parameters"):  # attention has the latter
                    if callable(reset := getattr(module, name, None)):
                        reset()
        return network
