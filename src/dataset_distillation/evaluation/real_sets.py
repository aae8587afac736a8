"""Sets of real images of the size of the distilled data: as many images per class, in as many steps.

Images are compared in the pixels that the networks see, which are normalized.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from dataset_distillation.datasets.data import Split
from dataset_distillation.distilled.data import Batches
from dataset_distillation.distilled.options import Distilled
from dataset_distillation.distilled.start import by_class, centroids, choose
from dataset_distillation.randomness import stream
from dataset_distillation.run.progress import followed


class RealSet(NamedTuple):
    """Normalized images (steps, n, channels, height, width) and labels (steps, n), as in distilled data."""

    images: Tensor
    labels: Tensor


class Size(NamedTuple):
    """The number of images per class in each step of a set, of steps, and of passes of ours over them.

    batches: which of the images an inner step takes; None: those of its step.
    """

    images_per_class: int
    steps: int
    epochs: int = 1
    batches: Batches | None = None

    @classmethod
    def of(cls, options: Distilled) -> Size:
        epochs = math.ceil(options.unrolled / options.steps)
        return cls(options.images_per_class, options.steps, epochs, Batches.of(options))

    def labels(self, classes: int) -> Tensor:
        """(steps, n): in each step, `images_per_class` of every class."""
        return torch.arange(classes).repeat_interleave(self.images_per_class).repeat(self.steps, 1)


def random_real(train: Split, size: Size, seed: int, number: int) -> list[RealSet]:
    """Random images of the train split, in `number` sets; the first ones are the same for any `number`."""
    labels = size.labels(train.specification.classes)
    sets = []
    for j in range(number):
        generator = stream(seed, "random real", j)
        images = train.batch(choose(train.labels, labels.flatten(), generator)).images
        sets.append(RealSet(images.view(*labels.shape, *images.shape[1:]), labels))
    return sets


def k_means(train: Split, size: Size, seed: int, number: int) -> list[RealSet]:
    """The centroids of k-means in each class, as many as there are images per class, from `number` starts."""
    seeds = [stream(seed, "k-means", j).initial_seed() for j in range(number)]
    each = followed("k-means", seeds)
    return [_by_class(train, size, partial(centroids, seed=seed)) for seed in each]


def average_real(train: Split, size: Size) -> RealSet:
    """The mean image of each class, repeated."""
    return _by_class(train, size, lambda images, _: images.mean(dim=0, keepdim=True))


def herding(train: Split, size: Size) -> RealSet:
    """Welling 2009: each next image brings the mean of the chosen ones closest to the mean of the class."""
    return _by_class(train, size, lambda images, number: images[herd(images, number)])


def k_center(train: Split, size: Size) -> RealSet:
    """Gonzalez 1985, greedy: each next image is the one farthest from the chosen ones of its class."""
    return _by_class(train, size, lambda images, number: images[spread(images, number)])


def herd(points: Tensor, number: int) -> list[int]:
    """Return the indices of `number` of the `points` (n, d), or of all, in the order of herding."""
    mean, total = points.mean(dim=0), torch.zeros_like(points[0])
    chosen: list[int] = []
    for size in range(1, min(number, len(points)) + 1):
        distance = (mean - (total + points) / size).norm(dim=1)
        distance[chosen] = torch.inf
        chosen.append(int(distance.argmin()))
        total += points[chosen[-1]]
    return chosen


def spread(points: Tensor, number: int) -> list[int]:
    """Return the indices of `number` of the `points` (n, d), or of all, the one nearest to the mean first."""
    chosen = [int((points - points.mean(dim=0)).norm(dim=1).argmin())]
    nearest = (points - points[chosen[0]]).norm(dim=1)
    while len(chosen) < min(number, len(points)):
        nearest[chosen] = -1  # below 0, the distance of a point that equals a chosen one
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).norm(dim=1))
    return chosen


def _by_class(train: Split, size: Size, choose_some: Callable[[Tensor, int], Tensor]) -> RealSet:
    images = by_class(train, size.images_per_class, size.steps, choose_some)
    return RealSet(images, size.labels(train.specification.classes))
