"""Later methods, as baselines: images that are made like the real ones, without training through inner steps.

Distribution matching (Zhao & Bilen 2023, arXiv 2110.04181) makes their features alike under random networks,
gradient matching (Zhao, Mopuri & Bilen 2021, arXiv 2006.05929) the gradients of the training loss. Sizes and
rates are those of the papers for ConvNet. With an augmentation, either changes the real images and its own
alike (Zhao & Bilen 2021, arXiv 2102.08259). Both start from real images, as DM and DSA do; DC starts from
noise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dataset_distillation.architectures import Weights
from dataset_distillation.datasets.data import Split
from dataset_distillation.distilled.start import choose
from dataset_distillation.errors import refuse
from dataset_distillation.evaluation.real_sets import RealSet, Size
from dataset_distillation.inner.step import attention_by_math
from dataset_distillation.networks.training import batches
from dataset_distillation.problem import Problem
from dataset_distillation.randomness import stream
from dataset_distillation.run.progress import followed

REAL = 256  # real images of each class in a step
MOMENTUM = 0.5  # of the images' SGD
#: The learning rate of the images, of either method.
FEATURES, GRADIENTS = 1.0, 0.1
#: Of gradient matching: from so many images per class on, how often the images and the network take turns for
#: one initialization, and the epochs of the network in between, at the rate NETWORK.
TURNS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
NETWORK, BATCH = 0.01, 256


def check(problem: Problem, methods: Collection[str], images_per_class: int) -> None:
    """Raise ConfigError, rather than after hours of distillation, if the network does not allow a method."""
    if "distribution_matching" in methods:
        last_linear(problem.network)
    if "gradient_matching" in methods and images_per_class == 1:
        image = next(problem.network.parameters()).new_zeros(1, *problem.data.specification.shape)
        try:
            problem.network(image)
        except ValueError as error:
            allowed = f"gives the network one image at a time here, which it refuses ({error})"
            raise refuse("evaluation.baselines", "gradient_matching", allowed, "leave it out") from error


def distribution_matching(problem: Problem, size: Size, steps: int) -> RealSet:
    """Return images whose features have the class means of the real ones, after `steps` steps of SGD."""

    def loss(step: int, images: Tensor, labels: Tensor) -> Tensor:
        [weights] = problem.population("init", 1, step)
        real, classes, images = sides(problem, step, images, labels)
        with torch.no_grad():
            wanted = class_means(features(problem.network, weights, real), classes)
        found = class_means(features(problem.network, weights, images), labels)
        return (wanted - found).square().sum()

    return _matched(problem, size, steps, FEATURES, loss)


def gradient_matching(problem: Problem, size: Size, steps: int) -> RealSet:
    """Return images that have, class by class, the gradients of the real ones, after `steps` steps of SGD."""
    most = max(number for number in TURNS if number <= size.images_per_class * size.steps)
    turns, between = TURNS[most]
    weights: Weights = {}

    def loss(step: int, images: Tensor, labels: Tensor) -> Tensor:
        nonlocal weights
        if step % turns == 0:
            [weights] = problem.population("init", 1, step // turns)
        else:
            weights = trained(problem, weights, images.detach(), labels, between, step)
        real, classes, images = sides(problem, step, images, labels)
        apart = torch.zeros((), device=images.device)
        for label in labels.unique():
            wanted = gradients(problem, weights, real[classes == label], classes[classes == label])
            found = gradients(problem, weights, images[labels == label], labels[labels == label], graph=True)
            apart = apart + distance(found, wanted)
        return apart

    return _matched(problem, size, steps, GRADIENTS, loss)


def _matched(
    problem: Problem, size: Size, steps: int, rate: float, loss: Callable[[int, Tensor, Tensor], Tensor]
) -> RealSet:
    """Return real images after `steps` steps of SGD on `loss`(step, images, labels)."""
    train = problem.data.train
    labels = size.labels(train.specification.classes)
    generator = stream(problem.seed, "matching start")
    images = train.batch(choose(train.labels, labels.flatten(), generator)).images.to(problem.device)
    images, flat = images.clone().requires_grad_(), labels.flatten().to(problem.device)
    optimizer = torch.optim.SGD([images], lr=rate, momentum=MOMENTUM)
    for step in followed("matching real images", range(steps)):
        optimizer.zero_grad()
        loss(step, images, flat).backward()
        optimizer.step()
    return RealSet(images.detach().cpu().view(*labels.shape, *images.shape[1:]), labels)


def real_batch(problem: Problem, step: int) -> tuple[Tensor, Tensor]:
    """Return REAL images of each class, or all if there are fewer, and their labels: drawn by the step."""
    train, generator = problem.data.train, stream(problem.seed, "matching batch", step)
    order = torch.randperm(len(train), generator=generator)
    images, labels = train.batch(torch.cat(list(_first(train, order))))
    return images.to(problem.device), labels.to(problem.device)


def sides(problem: Problem, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the real images of a step, their labels, and `images`; the augmentation changes both alike."""
    real, classes = real_batch(problem, step)
    return augmented(problem, real, classes, step), classes, augmented(problem, images, labels, step)


def augmented(problem: Problem, images: Tensor, labels: Tensor, step: int) -> Tensor:
    """Return the images as the augmentation changes them, all of a class by the one draw of this step."""
    if not problem.augmentation.numbers:
        return images
    changed = torch.zeros_like(images)
    for label in labels.unique().tolist():
        own, purpose = labels == label, f"matching augmentation of class {label}"
        changed[own] = problem.augmentation.alike(images[own], problem.seed, purpose, step)
    return changed


def _first(train: Split, order: Tensor) -> Iterator[Tensor]:
    labels = train.labels[order]
    for label in range(train.specification.classes):
        yield order[labels == label][:REAL]


def last_linear(network: nn.Module) -> nn.Linear:
    """Return the last linear layer of the network, of whose inputs distribution_matching has the means.

    Raises ConfigError if the network has none.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        allowed = "needs a network that ends in a linear layer"
        raise refuse("evaluation.baselines", "distribution_matching", allowed, "leave it out")
    return layers[-1]


def features(network: nn.Module, weights: Weights, images: Tensor) -> Tensor:
    """Return what enters the last linear layer, (n, features).

    Raises ConfigError if the network has no such layer.
    """
    entered: list[Tensor] = []
    hook = last_linear(network).register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    try:
        functional_call(network, weights, (images,))
    finally:
        hook.remove()
    return entered[-1].flatten(1)


def class_means(points: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of the `points` (n, d) of each class that occurs, (classes, d)."""
    return torch.stack([points[labels == label].mean(dim=0) for label in labels.unique()])


def gradients(
    problem: Problem, weights: Weights, images: Tensor, labels: Tensor, graph: bool = False
) -> list[Tensor]:
    """Return the gradient of the training loss in each weight, with its graph if asked for."""
    weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    with attention_by_math():  # the fused kernels have no second derivative
        outputs = functional_call(problem.network, weights, (images,))
    loss = problem.objective.training_loss(outputs, problem.objective.relabel(labels))
    return list(torch.autograd.grad(loss, list(weights.values()), create_graph=graph))


def distance(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Return the sum of 1 − cos over the outputs of each layer; biases do not count."""
    pairs = [(f.flatten(1), w.flatten(1)) for f, w in zip(found, wanted, strict=True) if f.ndim > 1]
    apart = [(1 - nn.functional.cosine_similarity(f, w, dim=1, eps=1e-6)).sum() for f, w in pairs]
    return torch.stack(apart).sum()


def trained(
    problem: Problem, weights: Weights, images: Tensor, labels: Tensor, epochs: int, turn: int
) -> Weights:
    """Return the weights after `epochs` epochs of SGD on the images, each of which has draws of its own."""
    for epoch in range(turn * epochs, (turn + 1) * epochs):
        order = torch.randperm(len(images), generator=stream(problem.seed, "matching order", epoch))
        for place, batch in enumerate(batches(order, BATCH)):
            seen = problem.augmentation.images(
                images[batch], problem.seed, f"matching training {epoch}", place
            )
            change = gradients(problem, weights, seen, labels[batch])
            weights = {name: w - NETWORK * g for (name, w), g in zip(weights.items(), change, strict=True)}
    return weights
