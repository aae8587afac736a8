"""Ordinary training and testing of a network, as the evaluation and users of the distilled data need it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from dataset_distillation.architectures import batch_norms
from dataset_distillation.datasets.data import Split
from dataset_distillation.inner_optimizers import InnerOptimizer, Step
from dataset_distillation.objectives import Objective
from dataset_distillation.randomness import stream

# The number of images that pass a network at once, if only the speed depends on it. On a CPU, the output of
# one operation should still be in the cache for the next. Time of forward and backward of 256 images in
# chunks of 32, relative to all at once: 0.87 on LeNet, 0.56 on ConvNet-3 of width 32, 0.68 of width 128 (one
# thread; with 16 threads: 1.09, 0.54, 0.65).
CPU_CHUNK = 32
CHUNK = 256  # on a GPU, and for a network whose BatchNorm would see other statistics in small chunks


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Return `order` (n,) in pieces of `size`.

    A rest of a single image, of which a BatchNorm without pixels has no variance, joins the piece before it.
    """
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1 < size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def few_at_once(network: nn.Module) -> bool:
    """Whether images should pass `network` in chunks of CPU_CHUNK: on a CPU, if it has no BatchNorm."""
    batch_norm = any(isinstance(module, batch_norms()) for module in network.modules())
    return next(network.parameters()).device.type == "cpu" and not batch_norm


def train(
    network: nn.Module,
    steps: Iterable[Step],
    optimizer: InnerOptimizer,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
) -> nn.Module:
    """Run the inner steps on `network`, in place, each with its own learning rate; no graph is kept."""
    for _ in descent(network, steps, optimizer, loss):
        pass
    return network


def descent(
    network: nn.Module,
    steps: Iterable[Step],
    optimizer: InnerOptimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[int]:
    """Train like `train`, but step by step: yield the number of steps that are done after each."""
    inner = optimizer.build(network.parameters())
    like = next(network.parameters())  # the device and the precision
    for done, (images, labels, learning_rate) in enumerate(steps, start=1):
        for group in inner.param_groups:
            group["lr"] = learning_rate.item()
        inner.zero_grad()
        with torch.enable_grad():
            loss(network(images.detach().to(like)), labels.to(like.device)).backward()
        inner.step()
        yield done
    inner.zero_grad()


def test(network: nn.Module, split: Split, objective: Objective) -> dict[str, float]:
    """The objective's metrics and loss on `split`."""
    return measure(*outputs(network, split), objective)


def measure(outputs: Tensor, labels: Tensor, objective: Objective) -> dict[str, float]:
    """The objective's metrics and loss of `outputs` (n, classes)."""
    outcome = objective.outcome(outputs, labels)
    return {name: value.item() for name, value in {**outcome.metrics, "loss": outcome.loss}.items()}


@torch.no_grad()
def outputs(network: nn.Module, split: Split) -> tuple[Tensor, Tensor]:
    """The network's outputs (N, classes) for all of `split` and the labels (N,), in one random order."""
    device = next(network.parameters()).device
    # Even chunks in a random order: a network with batch statistics must not see one class or image alone.
    order = torch.randperm(len(split), generator=stream(0, "test order"))
    chunks = order.tensor_split(-(-len(split) // (CPU_CHUNK if few_at_once(network) else CHUNK)))
    results = torch.cat([network(split.batch(indices).images.to(device)) for indices in chunks])
    return results, split.labels[order].to(device)
