"""BatchNorm after training: it normalizes by the statistics of the images that the network was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dataset_distillation.architectures import batch_norms, stateless

if TYPE_CHECKING:
    from dataset_distillation.architectures import BatchNorm


def _norms(network: nn.Module) -> list[BatchNorm]:
    return [module for module in network.modules() if isinstance(module, batch_norms())]


@torch.no_grad()
def fit(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of each BatchNorm to the means of those of `batches`, at its weights.

    The mode of each module is left as it was; they are used in `network.eval()`.
    """
    norms, like = _norms(network), next(network.parameters())
    before = [(norm.training, norm.momentum) for norm in norms]
    gather(network)
    for norm in norms:
        norm.momentum = None  # the mean, instead of a moving average
    for images in batches if norms else ():
        network(images.detach().to(like))
    for norm, (mode, norm.momentum) in zip(norms, before, strict=True):
        norm.train(mode)


def gather(network: nn.Module) -> None:
    """From now on each BatchNorm gathers moving averages of the statistics of its batches, as in torch."""
    like = next(network.parameters())
    for norm in _norms(network):
        norm.track_running_stats = True
        norm.running_mean = like.new_zeros(norm.num_features)
        norm.running_var = like.new_ones(norm.num_features)
        norm.num_batches_tracked = torch.tensor(0, device=like.device)
        norm.train()


def hand_over(fitted: nn.Module, network: nn.Module) -> None:
    """Give the running statistics of `fitted` to `network`, of which it is a copy."""
    for theirs, ours in zip(_norms(fitted), _norms(network), strict=True):
        ours.track_running_stats, ours.num_batches_tracked = True, theirs.num_batches_tracked
        ours.running_mean, ours.running_var = theirs.running_mean, theirs.running_var


@contextmanager
def by_statistics_of(network: nn.Module, batches: Iterable[Tensor] | None) -> Iterator[None]:
    """While it lasts, BatchNorm uses the statistics of `batches`, and afterwards those of each batch again.

    None: it uses those of each batch all the time.
    """
    if batches is None:
        yield
        return
    fit(network, batches)
    with by_gathered(network):
        yield


@contextmanager
def by_gathered(network: nn.Module) -> Iterator[None]:
    """While it lasts, BatchNorm uses what it has gathered, and afterwards each batch's statistics again."""
    norms = _norms(network)
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        if norms:
            stateless(network)
