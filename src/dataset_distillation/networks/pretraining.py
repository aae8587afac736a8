"""How the networks of a pool are trained: one by one on a CPU, as one batched program on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import refuse
from dataset_distillation.networks import training
from dataset_distillation.networks.options import Pretraining
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.objectives.standard import Standard
from dataset_distillation.randomness import stream

if TYPE_CHECKING:
    from dataset_distillation.networks.pool import Pool


def train_members(pool: Pool, members: list[str]) -> None:
    """Train some members, as one batched program if they are several, and save each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one network a core; and its bits do not depend on how many there are
    try:
        trained = _trained(pool, members)
    finally:
        torch.set_num_threads(threads)
    for j, member in enumerate(members):
        weights = {name: tensor[j].clone() for name, tensor in trained.items()}
        load_weights(pool.network, weights)
        accuracy = training.test(pool.network, pool.data.test, Standard())["accuracy"]
        pool.save(member, {name: tensor.cpu() for name, tensor in weights.items()}, accuracy)


def _trained(pool: Pool, members: list[str]) -> Weights:
    """The members' weights after pretraining, stacked along a first dimension.

    The sum of the members' losses has each member's own gradient, and an optimiser that works element by
    element takes each member's own step.
    """
    recipe, train = pool.pretraining, pool.data.train
    stacked = _start(pool, members)
    optimizer = _optimizer(recipe, [tensor for tensor in stacked.values() if tensor.requires_grad])
    batches = [_batches(pool, member) for member in members]
    schedule = _one_cycle(optimizer, recipe.learning_rate, len(batches[0]))
    for indices in map(torch.stack, zip(*batches, strict=True)):  # (members, batch)
        images, labels = (tensor.to(pool.device) for tensor in train.batch(indices.flatten()))
        outputs = _forward(pool.network, stacked, images.unflatten(0, indices.shape))
        optimizer.zero_grad()
        (nn.functional.cross_entropy(outputs.flatten(0, 1), labels) * len(members)).backward()
        optimizer.step()
        schedule.step()
    return {name: tensor.detach() for name, tensor in stacked.items()}


def _start(pool: Pool, members: list[str]) -> Weights:
    """θ0 of the members, stacked; what the network's author froze stays as it is drawn."""
    drawn = [
        pool.architecture.draw(
            pool.network, stream(pool.pretraining.seed, f"pretrained {member}"), pool.data.specification
        )
        for member in members
    ]
    return {
        name: torch.stack([d[name] for d in drawn]).to(pool.device).requires_grad_(parameter.requires_grad)
        for name, parameter in pool.network.named_parameters()
    }


def _forward(network: nn.Module, stacked: Weights, images: Tensor) -> Tensor:
    """Outputs (members, batch, classes) of images (members, batch, channels, height, width)."""

    def forward(weights: Weights, images: Tensor) -> Tensor:
        outputs: Tensor = functional_call(network, weights, (images,))
        return outputs

    if len(images) == 1:
        return forward({name: tensor[0] for name, tensor in stacked.items()}, images[0])[None]
    batched: Tensor = vmap(forward)(stacked, images)
    return batched


def _batches(pool: Pool, member: str) -> list[Tensor]:
    """The indices of each step: every epoch in a new order, without its last, smaller batch."""
    recipe, size = pool.pretraining, len(pool.data.train)
    if size < recipe.batch_size:
        allowed = f"{pool.source.name} has {size} images to train on"
        raise refuse("init.pretraining.batch_size", recipe.batch_size, allowed)
    orders = [
        torch.randperm(size, generator=stream(recipe.seed, f"pretraining {member}", epoch))
        for epoch in range(recipe.epochs)
    ]
    return [b for order in orders for b in order.split(recipe.batch_size) if len(b) == recipe.batch_size]


def _optimizer(recipe: Pretraining, parameters: list[Tensor]) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=recipe.learning_rate)
    return torch.optim.SGD(parameters, lr=recipe.learning_rate, momentum=0.9, nesterov=True)


def _one_cycle(optimizer: torch.optim.Optimizer, highest: float, steps: int) -> LRScheduler:
    """Learning rates up to the `highest` in the first fifth of the steps, then down (Smith & Topin 2018)."""
    up = 0.2 if steps != 5 else 0.25  # torch divides by 0 where the way up is one step
    return OneCycleLR(optimizer, highest, total_steps=steps, pct_start=up, cycle_momentum=False)
