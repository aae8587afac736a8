"""How the networks of a pool are trained: one by one on a CPU, as one batched program on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from dataset_distillation.architectures import Architecture, Weights
from dataset_distillation.datasets.data import Data, Specification
from dataset_distillation.errors import refuse
from dataset_distillation.networks import training
from dataset_distillation.networks.options import Pretraining
from dataset_distillation.networks.weights import load_weights, stack, unstack
from dataset_distillation.objectives.standard import Standard
from dataset_distillation.randomness import stream


class Member(NamedTuple):
    """A trained network: its weights, on the CPU, and its accuracy on the test split of the source."""

    weights: Weights
    accuracy: float


def train_members(
    architecture: Architecture,
    network: nn.Module,
    data: Data,
    recipe: Pretraining,
    device: torch.device,
    names: Sequence[str],
) -> list[Member]:
    """Train the members of these names, as one batched program if there are several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one network per core; its bits do not depend on the number of cores
    try:
        start = start_of(architecture, network, data.specification, recipe, names)
        start = {name: tensor.to(device) for name, tensor in start.items()}
        stacked = trained(network, start, data, recipe, names)
        return [_member(network, weights, data) for weights in unstack(stacked)]
    finally:
        torch.set_num_threads(threads)


def _member(network: nn.Module, weights: Weights, data: Data) -> Member:
    load_weights(network, weights)
    accuracy = training.test(network, data.test, Standard())["accuracy"]
    return Member({name: tensor.clone().cpu() for name, tensor in weights.items()}, accuracy)


def start_of(
    architecture: Architecture,
    network: nn.Module,
    specification: Specification,
    recipe: Pretraining,
    names: Sequence[str],
) -> Weights:
    """θ0 of the members, stacked; parameters that the network's author froze keep the drawn values."""
    drawn = [
        architecture.draw(network, stream(recipe.seed, f"pretrained {name}"), specification) for name in names
    ]
    return stack(drawn)


def trained(
    network: nn.Module, start: Weights, data: Data, recipe: Pretraining, names: Sequence[str]
) -> Weights:
    """The members' weights after pretraining from `start`, stacked along a first dimension.

    The gradient of the sum of the members' losses contains each member's own gradient, and an optimizer that
    works element by element makes each member's own step.
    """
    learned = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    stacked = {name: tensor.requires_grad_(learned[name]) for name, tensor in start.items()}
    device = next(iter(stacked.values())).device
    optimizer = _optimizer(recipe, [tensor for tensor in stacked.values() if tensor.requires_grad])
    batches = [_batches(data, recipe, name) for name in names]
    schedule = _one_cycle(optimizer, recipe.learning_rate, len(batches[0]))
    for indices in map(torch.stack, zip(*batches, strict=True)):  # (members, batch)
        images, labels = (tensor.to(device) for tensor in data.train.batch(indices.flatten()))
        outputs = _forward(network, stacked, images.unflatten(0, indices.shape))
        optimizer.zero_grad()
        (nn.functional.cross_entropy(outputs.flatten(0, 1), labels) * len(names)).backward()
        optimizer.step()
        schedule.step()
    return {name: tensor.detach() for name, tensor in stacked.items()}


def _forward(network: nn.Module, stacked: Weights, images: Tensor) -> Tensor:
    """Outputs (members, batch, classes) of images (members, batch, channels, height, width)."""

    def forward(weights: Weights, images: Tensor) -> Tensor:
        outputs: Tensor = functional_call(network, weights, (images,))
        return outputs

    if len(images) == 1:
        return forward({name: tensor[0] for name, tensor in stacked.items()}, images[0])[None]
    batched: Tensor = vmap(forward)(stacked, images)
    return batched


def check_batch(data: Data, recipe: Pretraining) -> None:
    """Raise ConfigError unless the train split has the images of a batch."""
    if (size := len(data.train)) < recipe.batch_size:
        allowed = f"{data.specification.name} has {size} images to train on"
        raise refuse("init.pretraining.batch_size", recipe.batch_size, allowed)


def _batches(data: Data, recipe: Pretraining, name: str) -> list[Tensor]:
    """The indices of each step: every epoch has a new order, and its last, smaller batch is left out."""
    size = len(data.train)
    orders = [
        torch.randperm(size, generator=stream(recipe.seed, f"pretraining {name}", epoch))
        for epoch in range(recipe.epochs)
    ]
    return [b for order in orders for b in order.split(recipe.batch_size) if len(b) == recipe.batch_size]


def _optimizer(recipe: Pretraining, parameters: list[Tensor]) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=recipe.learning_rate)
    return torch.optim.SGD(parameters, lr=recipe.learning_rate, momentum=0.9, nesterov=True)


def _one_cycle(optimizer: torch.optim.Optimizer, highest: float, steps: int) -> LRScheduler:
    """Learning rates up to the `highest` in the first fifth of the steps, then down (Smith & Topin 2018)."""
    up = 0.2 if steps != 5 else 0.25  # torch divides by 0 if the rise is a single step
    return OneCycleLR(optimizer, highest, total_steps=steps, pct_start=up, cycle_momentum=False)
