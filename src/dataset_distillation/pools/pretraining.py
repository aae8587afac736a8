"""How the networks of a pool are trained: one by one on a CPU, as one batched program on a GPU."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim.lr_scheduler import OneCycleLR

from dataset_distillation.architectures import Architecture, Weights
from dataset_distillation.datasets.data import Data, Specification
from dataset_distillation.errors import refuse
from dataset_distillation.inner.adjoint import run
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.inner.traced import TracedSteps
from dataset_distillation.inner_optimizers import InnerOptimizer, Step
from dataset_distillation.inner_optimizers.adam import Adam
from dataset_distillation.inner_optimizers.momentum import Momentum
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import load_weights, stack, unstack
from dataset_distillation.objectives.standard import Standard
from dataset_distillation.pools.options import Pretraining
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
    pool: str,
) -> list[Member]:
    """Train the members of these names of `pool`, as one batched program if there are several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one network per core; its bits do not depend on the number of cores
    try:
        start = start_of(architecture, network, data.specification, recipe, names)
        start = {name: tensor.to(device) for name, tensor in start.items()}
        programs = _programs(pool) if recipe.compile else None
        stacked = trained(network, start, data, recipe, names, programs)
        return [_member(network, weights, data) for weights in unstack(stacked)]
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _programs(pool: str) -> TracedSteps:
    """The programs by which a process trains the members of `pool`; they are compiled once."""
    key = "init.pretraining.compile"
    return TracedSteps(compiled=True, key=key, remedy=f"use {key}=false")


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
    network: nn.Module,
    start: Weights,
    data: Data,
    recipe: Pretraining,
    names: Sequence[str],
    programs: TracedSteps | None = None,
) -> Weights:
    """The members' weights after pretraining from `start`, stacked along a first dimension.

    programs: by which the steps of a single member are made; None: by torch.optim.
    """
    batches = [_batches(data, recipe, name) for name in names]
    rates = _one_cycle(recipe, len(batches[0]))
    steps = zip(map(torch.stack, zip(*batches, strict=True)), rates, strict=True)
    if programs is None:
        return _descent(network, start, data, recipe, steps)
    [alone] = unstack(start)
    inner = InnerTraining(network, alone, _optimizer(recipe), nn.functional.cross_entropy)
    made = (Step(*data.train.batch(indices[0]), torch.tensor(rate)) for indices, rate in steps)
    return stack([inner.weights_at(run(inner, made, programs))])


def _descent(
    network: nn.Module,
    stacked: Weights,
    data: Data,
    recipe: Pretraining,
    steps: Iterable[tuple[Tensor, float]],
) -> Weights:
    """Train the members as one program by steps of indices (members, batch), each with its learning rate.

    The gradient of the sum of the members' losses contains each member's own gradient, and an optimizer that
    works element by element makes each member's own step.
    """
    for name, parameter in network.named_parameters():
        stacked[name].requires_grad_(parameter.requires_grad)
    device = next(iter(stacked.values())).device
    optimizer = _optimizer(recipe).build(tensor for tensor in stacked.values() if tensor.requires_grad)
    for indices, rate in steps:
        images, labels = data.train.batch(indices.flatten())
        outputs = _forward(network, stacked, images.to(device).unflatten(0, indices.shape))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (nn.functional.cross_entropy(outputs.flatten(0, 1), labels.to(device)) * len(indices)).backward()
        optimizer.step()
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


def check(data: Data, recipe: Pretraining, device: torch.device) -> None:
    """Raise ConfigError unless networks can be trained so on `device`, by the images of the train split."""
    if (size := len(data.train)) < recipe.batch_size:
        allowed = f"{data.specification.name} has {size} images to train on"
        raise refuse("init.pretraining.batch_size", recipe.batch_size, allowed)
    if recipe.compile and device.type != "cpu":
        allowed = "is for a CPU, and this device trains networks in batches"
        raise refuse("init.pretraining.compile", True, allowed, "use init.pretraining.compile=false")


def _batches(data: Data, recipe: Pretraining, name: str) -> list[Tensor]:
    """The indices of each step: every epoch has a new order, and its last, smaller batch is left out."""
    size = len(data.train)
    orders = [
        torch.randperm(size, generator=stream(recipe.seed, f"pretraining {name}", epoch))
        for epoch in range(recipe.epochs)
    ]
    return [b for order in orders for b in order.split(recipe.batch_size) if len(b) == recipe.batch_size]


def _optimizer(recipe: Pretraining) -> InnerOptimizer:
    return Adam() if recipe.optimizer == "adam" else Momentum(nesterov=True)


def _one_cycle(recipe: Pretraining, steps: int) -> list[float]:
    """Learning rates up to the highest in the first fifth of the steps, then down (Smith & Topin 2018)."""
    if steps == 1:  # of which torch would give the last rate, that after the fall
        return [recipe.learning_rate]
    up = 0.2 if steps != 5 else 0.25  # torch divides by 0 if the rise is a single step
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    schedule = OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps, pct_start=up, cycle_momentum=False
    )
    rates: list[float] = []
    for _ in range(steps):
        rates += map(float, schedule.get_last_lr())
        optimizer.step()
        schedule.step()
    return rates
