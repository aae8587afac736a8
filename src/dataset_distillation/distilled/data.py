"""Images, labels and learning rates: the distilled data, which are the only meta-parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dataset_distillation.inner_optimizers import Step


def sequence(images: Tensor, labels: Tensor, learning_rates: Tensor) -> Iterator[Step]:
    """The inner steps in order: every epoch passes over the same images with its own rates (Section 3.4)."""
    batches = list(zip(images, labels, strict=True))  # the same tensors in every epoch
    for rates in learning_rates:
        yield from (Step(*batch, rate) for batch, rate in zip(batches, rates, strict=True))


def pixels(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Map normalized images (..., channels, height, width) to the dataset's range, [0, 1] for real ones."""
    return images * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)


class DistilledData(nn.Module):
    """x̃ (steps, n, channels, height, width), normalized as the dataset is; η̃ (epochs, steps) > 0.

    Labels are classes (steps, n), int64, which are fixed; or numbers (steps, n, outputs of the network),
    float, which are learned without bounds. The rates are positive because they are the softplus of the
    parameters that are optimized.
    """

    labels: Tensor

    def __init__(self, images: Tensor, labels: Tensor, learning_rates: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images)
        self.raw_learning_rates = nn.Parameter(_inverse_softplus(learning_rates))
        if labels.is_floating_point():
            self.labels = nn.Parameter(labels)
        else:
            self.register_buffer("labels", labels)

    @property
    def learning_rates(self) -> Tensor:
        return functional.softplus(self.raw_learning_rates)

    @property
    def inner_steps(self) -> int:
        """T, the number of steps that train a network: all steps of all epochs."""
        return self.raw_learning_rates.numel()

    def steps(
        self, images: Tensor, raw_learning_rates: Tensor, labels: Tensor | None = None
    ) -> Iterator[Step]:
        """The inner steps as a function of the optimized tensors: those of `parameters()`, in their order."""
        labels = self.labels if labels is None else labels
        return sequence(images, labels, functional.softplus(raw_learning_rates))


def _inverse_softplus(rates: Tensor) -> Tensor:
    return rates + (-(-rates).expm1()).log()  # log(exp(rate) − 1), without its overflow
