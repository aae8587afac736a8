"""The weights of a network as a dictionary: copied, stacked, and identified by their checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from dataset_distillation.architectures import Weights


def checksum(weights: Weights) -> str:
    """SHA-256 over names, shapes and values, in single precision and in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().flatten().numpy().data)
    return digest.hexdigest()


def stack(population: Sequence[Weights]) -> Weights:
    return {name: torch.stack([weights[name] for weights in population]) for name in population[0]}


def unstack(weights: Weights) -> list[Weights]:
    return [dict(zip(weights, each, strict=True)) for each in zip(*weights.values(), strict=True)]


def load_weights(network: nn.Module, weights: Weights) -> nn.Module:
    """Copy `weights` into `network`."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])
    return network
