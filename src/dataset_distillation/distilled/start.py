"""The distilled data before the first outer step."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from dataset_distillation.datasets.data import Specification, Split
from dataset_distillation.distilled.artifact import DistilledSet, load_distilled
from dataset_distillation.distilled.data import Batches, DistilledData
from dataset_distillation.distilled.options import Distilled
from dataset_distillation.errors import refuse
from dataset_distillation.inner_optimizers import STEP
from dataset_distillation.randomness import stream
from dataset_distillation.run.machine import check_room
from dataset_distillation.run.progress import followed

log = logging.getLogger(__name__)


def start(options: Distilled, train: Split, seed: int) -> DistilledData:
    """The distilled data before the first outer step.

    Images are noise N(0, 1), real images of the train split, or the centroids of its classes.
    Learned class labels start at the fixed classes with weight 1, before a softmax if they are probabilities;
    number labels start as the images do.
    """
    specification = train.specification
    if options.start_from:
        return of_artifact(options, specification)
    numbers = train.labels.is_floating_point()
    check_size(options, specification)
    labels = torch.arange(specification.classes).repeat_interleave(options.images_per_class)
    labels = labels.repeat(options.steps, 1)
    generator = stream(seed, "distilled start")
    if options.start == "k_means":
        centers = partial(centroids, seed=generator.initial_seed())
        images, targets = by_class(train, options.images_per_class, options.steps, centers), labels.flatten()
    elif options.start == "real":
        classes = torch.zeros(len(train), dtype=torch.long) if numbers else train.labels
        images, targets = train.batch(choose(classes, labels.flatten(), generator))
        images = images.view(*labels.shape, *specification.shape)
    else:
        images = torch.randn(*labels.shape, *specification.shape, generator=generator)
        targets = torch.randn(labels.numel(), 1, generator=generator) if numbers else labels
    if numbers:
        labels = targets.view(*labels.shape, 1)
    elif options.labels != "fixed":
        labels = functional.one_hot(labels, specification.classes).float()
    return _data(options, images, labels)


def _data(options: Distilled, images: Tensor, labels: Tensor, rates: Tensor | None = None) -> DistilledData:
    check_used(options, labels.shape[:2].numel())
    if rates is None or rates.shape != options.shape_of_rates:
        rates = torch.full(options.shape_of_rates, options.learning_rate)
    temperature = options.temperature if options.labels == "probabilities" else None
    return DistilledData(images, labels, rates, Batches.of(options), temperature)


def of_artifact(options: Distilled, specification: Specification) -> DistilledData:
    """The distilled data in `options.start_from`, normalized as the present dataset is.

    Raises UserError if the file cannot be read, and ConfigError if its data do not fit the options.
    """
    path, read = str(options.start_from), load_distilled(str(options.start_from))
    n = options.images_per_class * (1 if specification.classes < 2 else specification.classes)
    expected = (options.steps, n, *specification.shape)
    if read.images.shape != expected:
        allowed = f"its images are {tuple(read.images.shape)}, and the options ask for {expected}"
        remedy = "set distilled.steps and distilled.images_per_class as it has them"
        raise refuse("distilled.start_from", path, allowed, remedy)
    if (classes := len(read.metadata["class_names"])) != specification.classes:
        allowed = f"it has {classes} classes, and the data have {specification.classes}"
        raise refuse("distilled.start_from", path, allowed)
    images, labels = read.seen_as(specification).float(), _labels_of(read, options, specification)
    labels, rates = labels.float() if labels.is_floating_point() else labels, read.learning_rates.float()
    if rates.numel() == math.prod(options.shape_of_rates):
        rates = rates.reshape(options.shape_of_rates)
    else:
        log.info("the learning rates begin at %s, since %s has others", options.learning_rate, path)
    return _data(options, images, labels, rates)


def _labels_of(read: DistilledSet, options: Distilled, specification: Specification) -> Tensor:
    labels, path = read.labels, options.start_from
    if options.labels == "fixed":
        if labels.is_floating_point():
            remedy = "use distilled.labels=learned or probabilities"
            raise refuse("distilled.start_from", path, "its labels are learned", remedy)
        return labels
    if not labels.is_floating_point():
        return functional.one_hot(labels, specification.classes).float()
    if options.labels == "learned":
        return labels
    if labels.min() <= 0 or not torch.allclose(labels.sum(-1), torch.ones(()), atol=1e-3):
        remedy = "use distilled.labels=learned"
        raise refuse("distilled.start_from", path, "its labels are no probabilities", remedy)
    return labels.log() * options.temperature


def check_size(options: Distilled, specification: Specification) -> None:
    """Raise ConfigError unless the distilled data and their inner steps fit the free memory.

    Adam keeps two numbers for each of theirs.
    """
    images = options.steps * options.images_per_class * specification.classes
    numbers = images * (math.prod(specification.shape) + specification.classes) + options.unrolled
    counts = {name: getattr(options, name) for name in ("images_per_class", "steps", "epochs")}
    counts["inner_steps"] = options.inner_steps or 0
    name = max(counts, key=counts.__getitem__)
    size = 3 * 4 * numbers + STEP * options.unrolled
    check_room(f"distilled.{name}", counts[name], size, "the distilled data")


def check_used(options: Distilled, images: int) -> None:
    """Raise ConfigError if batches in order end before each of the `images` was in one."""
    used = options.unrolled * (options.batch_size or images)
    if options.batch_order == "in_order" and used < images:
        allowed = f"the batches in order end after {used} of the {images} images"
        remedy = "set more, or distilled.batch_order=random"
        raise refuse("distilled.batch_size", options.batch_size, allowed, remedy)


def choose(labels: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each entry of `classes` (k,) the index of an example of that class.

    No example is used twice before all examples of its class have been used.
    """
    chosen = torch.empty_like(classes)
    for label in classes.unique():
        places = (classes == label).nonzero().flatten()
        examples = (labels == label).nonzero().flatten()
        rounds = -(-len(places) // len(examples))
        order = torch.cat([torch.randperm(len(examples), generator=generator) for _ in range(rounds)])
        chosen[places] = examples[order[: len(places)]]
    return chosen


def by_class(
    train: Split, images_per_class: int, steps: int, choose_some: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Images (steps, n, channels, height, width), as the distilled ones, computed per class.

    `choose_some(images (N, d) of a class, number)` returns (m, d), which are spread over the steps in that
    order. If it returns fewer than `number`, they are repeated.
    """
    number, columns = images_per_class * steps, []
    for label in followed("choosing images of each class", range(train.specification.classes)):
        images = train.batch((train.labels == label).nonzero().flatten()).images
        chosen = choose_some(images.flatten(1), number)
        chosen = chosen[torch.arange(number) % len(chosen)]
        columns.append(chosen.view(steps, images_per_class, *images.shape[1:]))
    return torch.cat(columns, dim=1)


def centroids(points: Tensor, number: int, seed: int) -> Tensor:
    """Return `number` centroids of the `points` (n, d), or n if there are fewer points, by scikit-learn."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # scikit-learn requires seeds below 2³².
    clusters = KMeans(min(number, len(points)), n_init=1, random_state=seed % 2**32)
    with threadpool_limits(torch.get_num_threads()):
        clusters.fit(points.numpy())
    return torch.from_numpy(clusters.cluster_centers_).to(points)
