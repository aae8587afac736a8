"""Images, labels and learning rates: the distilled data, the only meta-parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from dataset_distillation.inner_optimizers import Step
from dataset_distillation.randomness import stream

if TYPE_CHECKING:
    from dataset_distillation.config import Distilled
    from dataset_distillation.datasets import Split


def sequence(images: Tensor, labels: Tensor, learning_rates: Tensor) -> Iterator[Step]:
    """The inner steps in order: every epoch passes over the same images with rates of its own (Sec 3.4)."""
    for rates in learning_rates:
        yield from map(Step, images, labels, rates)


def pixels(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalised images (..., channels, height, width) in the data set's range, [0, 1] for real ones."""
    return images * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)


class DistilledData(nn.Module):
    """x̃ (steps, n, channels, height, width), in the normalised space of the data set; η̃ (epochs, steps) > 0.

    Labels (steps, n) are fixed. Rates are kept positive as softplus of what is optimised.
    """

    labels: Tensor

    def __init__(self, images: Tensor, labels: Tensor, learning_rates: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images)
        self.raw_learning_rates = nn.Parameter(_inverse_softplus(learning_rates))
        self.register_buffer("labels", labels)

    @property
    def learning_rates(self) -> Tensor:
        return functional.softplus(self.raw_learning_rates)

    def steps(self, images: Tensor, raw_learning_rates: Tensor) -> Iterator[Step]:
        """The inner steps, as a function of what is optimised."""
        return sequence(images, self.labels, functional.softplus(raw_learning_rates))


def _inverse_softplus(rates: Tensor) -> Tensor:
    return rates + (-(-rates).expm1()).log()  # log(exp(rate) − 1), without its overflow


def start(options: Distilled, train: Split, seed: int) -> DistilledData:
    """The distilled data before the first outer step: noise N(0, 1), or real images of the train split."""
    specification = train.specification
    classes = torch.arange(specification.classes).repeat_interleave(options.images_per_class)
    labels = classes.repeat(options.steps, 1)
    generator = stream(seed, "distilled start")
    if options.start == "real":
        images = train.batch(choose(train.labels, labels.flatten(), generator)).images
        images = images.view(*labels.shape, *specification.shape)
    else:
        images = torch.randn(*labels.shape, *specification.shape, generator=generator)
    return DistilledData(images, labels, torch.full((options.epochs, options.steps), options.learning_rate))


def choose(labels: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """For each entry of `wanted` (k,) the index of an example of that class, each once while they last."""
    chosen = torch.empty_like(wanted)
    for label in wanted.unique():
        places = (wanted == label).nonzero().flatten()
        examples = (labels == label).nonzero().flatten()
        rounds = -(-len(places) // len(examples))
        order = torch.cat([torch.randperm(len(examples), generator=generator) for _ in range(rounds)])
        chosen[places] = examples[order[: len(places)]]
    return chosen
