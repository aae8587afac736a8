"""Ordinary training and testing of a network: what evaluation and a user of the distilled data do."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from dataset_distillation.architectures import Weights
from dataset_distillation.datasets import Split
from dataset_distillation.inner_optimizers import InnerOptimizer, Step
from dataset_distillation.objectives import Objective
from dataset_distillation.randomness import stream

# Measured on LeNet and 2 cores: 1,024 images at once take 1.8 times as long as in chunks of 256.
CHUNK = 256


def load(network: nn.Module, weights: Weights) -> nn.Module:
    """Copy `weights` into `network`."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])
    return network


def train(
    network: nn.Module,
    steps: Iterable[Step],
    optimizer: InnerOptimizer,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
) -> nn.Module:
    """Run the inner steps on `network`, in place, each with its own learning rate; no graph is kept."""
    inner = optimizer.build(network.parameters())
    like = next(network.parameters())  # the device and the precision
    with torch.enable_grad():
        for images, labels, learning_rate in steps:
            for group in inner.param_groups:
                group["lr"] = learning_rate.item()
            inner.zero_grad()
            loss(network(images.detach().to(like)), labels.to(like.device)).backward()
            inner.step()
    inner.zero_grad()
    return network


@torch.no_grad()
def test(network: nn.Module, split: Split, objective: Objective) -> dict[str, float]:
    """The objective's loss and metrics on `split`, averaged over its images."""
    device = next(network.parameters()).device
    totals: dict[str, float] = {}
    # In a random order, cut evenly: a network with batch statistics must meet no class, and no image, alone.
    order = torch.randperm(len(split), generator=stream(0, "test order"))
    for indices in order.tensor_split(-(-len(split) // CHUNK)):
        images, labels = split.batch(indices)
        outcome = objective.outcome(network(images.to(device)), labels.to(device))
        for name, value in {"loss": outcome.loss, **outcome.metrics}.items():
            totals[name] = totals.get(name, 0.0) + value.item() * len(labels)
    return {name: total / len(split) for name, total in totals.items()}
