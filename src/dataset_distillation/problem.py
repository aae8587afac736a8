"""What distillation and evaluation share: the data, the network, p(θ0), the objective and the seed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from dataset_distillation.architectures import (
    Architecture,
    Weights,
    changes,
    ends_in_softmax,
    is_random,
)
from dataset_distillation.architectures.given import Given
from dataset_distillation.augmentation import Augmentation
from dataset_distillation.augmentation.none import NoAugmentation
from dataset_distillation.datasets import Dataset, splits
from dataset_distillation.datasets.data import Data, Split
from dataset_distillation.datasets.in_memory import InMemory
from dataset_distillation.errors import ConfigError, UserError, choice_of, instance, integer, refuse
from dataset_distillation.init import Init, Origin
from dataset_distillation.init.random import Random
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.objectives import Objective
from dataset_distillation.objectives.regression import Regression
from dataset_distillation.objectives.standard import Standard
from dataset_distillation.randomness import stream
from dataset_distillation.run.machine import check_room

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


log = logging.getLogger(__name__)

FLOAT = 4  # bytes of a weight


def check_parts(
    dataset: Dataset,
    architecture: Architecture,
    init: Init,
    objective: Objective,
    augmentation: Augmentation,
    stored: bool = False,
) -> None:
    """Raise ConfigError unless these parts fit each other.

    stored: the distilled data may already hold θ0, so that the file it was read from need not exist.
    """
    dataset.check()
    size, name = dataset.image_size, f"dataset.name={dataset.name}"
    architecture.check((dataset.channels, size, size))
    if objective.numbers and not dataset.numbers:
        allowed, remedy = f"predicts numbers, and {name} has classes", "use objective=standard"
        raise refuse("objective", choice_of(objective), allowed, remedy)
    if dataset.numbers and not objective.numbers:
        allowed, remedy = f"predicts classes, and {name} has numbers", "use objective=regression"
        raise refuse("objective", choice_of(objective), allowed, remedy)
    check_augmentation("augmentation", augmentation, dataset, "use augmentation=none")
    init.check(dataset, stored)
    if objective.trained_init and not init.trained:
        other = " dataset@init.source=..." if objective.other_source else ""
        remedy = f"use init=pretrained{other}"
        raise refuse("objective", choice_of(objective), "needs networks that are already trained", remedy)
    if objective.other_source and init.trained_on(dataset):
        raise _the_same(dataset)
    if names := dataset.class_names or dataset.known_names():
        objective.check(names)


def check_augmentation(key: str, augmentation: Augmentation, dataset: Dataset, remedy: str) -> None:
    """Raise ConfigError, which names `key` and ends with `remedy`, if there are no images to change."""
    if dataset.numbers and augmentation.numbers:
        allowed = f"changes images, and dataset.name={dataset.name} has rows of numbers"
        raise refuse(key, choice_of(augmentation), allowed, remedy)


def _the_same(dataset: Dataset) -> ConfigError:
    remedy = "choose another source, for example dataset@init.source=usps, or objective=standard"
    return refuse("init.source", dataset.name, "is the dataset that is distilled", remedy)


@dataclass(frozen=True)
class Problem:
    """What is to be distilled and for which networks; made by `Problem.of` or `Problem.load`.

    data: the train, validation and test splits.
    network: the module that gives θ its form; its own weights are never used.
    architecture: how the network is built and how its weights are drawn.
    init: where θ0 comes from (Section 3.5), bound to the dataset.
    objective: what the distilled data are for, bound to the classes.
    inner_optimizer: how an inner step updates the weights.
    seed: the seed of every random draw.
    augmentation: how images are changed before networks are trained on them; those of the test are not.
    """

    data: Data
    network: nn.Module
    architecture: Architecture
    init: Init
    objective: Objective
    inner_optimizer: InnerOptimizer
    seed: int
    augmentation: Augmentation = field(default_factory=NoAugmentation)

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor,
        network: nn.Module | Architecture,
        *,
        test: tuple[Tensor, Tensor] | float = 0.2,
        class_names: Sequence[str] | None = None,
        init: Init | None = None,
        objective: Objective | None = None,
        inner_optimizer: InnerOptimizer | None = None,
        augmentation: Augmentation | None = None,
        validation: float = 0.1,
        seed: int = 0,
    ) -> Problem:
        """Make the problem of your own data and network; neither is changed.

        images, labels, test, class_names, validation: as for `InMemory`.
        network: your own module, of which a copy is used, on the device where it is; or an architecture of
            this package, such as `LeNet()` or `ConvNet(width=64)`.
        init: where θ0 comes from (Section 3.5); `Random()` by default.
        objective: what the distilled data are for; by default `Standard()`, or `Regression()` if the labels
            are numbers.
        inner_optimizer: how an inner step updates the weights; `SGD()` by default.
        augmentation: how images are changed before they enter a network; `NoAugmentation()` by default.
        seed: the seed of every draw but the splits: θ0, the real batches and the first pixels.

        Raises ConfigError or UserError, with a message of one line, if these do not fit each other.
        """
        from torch import nn

        instance("network", network, nn.Module, Architecture)
        dataset = InMemory(images, labels, test=test, class_names=class_names, validation=validation)
        default = Regression() if dataset.numbers else Standard()
        architecture = network if isinstance(network, Architecture) else Given(network)
        init, objective = init or Random(), objective or default
        optimizer, augmentation = inner_optimizer or SGD(), augmentation or NoAugmentation()
        instance("init", init, Init)
        instance("objective", objective, Objective)
        instance("inner_optimizer", optimizer, InnerOptimizer)
        instance("augmentation", augmentation, Augmentation)
        check_parts(dataset, architecture, init, objective, augmentation)
        parts = (dataset, architecture, init, objective, optimizer, integer("seed", seed))
        problem = cls.load(*parts, augmentation=augmentation)
        problem.tell()
        return problem

    @classmethod
    def load(
        cls,
        dataset: Dataset,
        architecture: Architecture,
        init: Init,
        objective: Objective,
        inner_optimizer: InnerOptimizer,
        seed: int,
        *,
        augmentation: Augmentation | None = None,
        device: torch.device | None = None,
        test_only: bool = False,
    ) -> Problem:
        """Load the data and build the network.

        device: where the network is placed; None leaves it on the CPU, or on the device of your own network.
        test_only: load the test split alone, which is enough to evaluate.

        Raises UserError if the data cannot be read or do not fit.
        """
        import torch

        if (default := torch.get_default_dtype()) != torch.float32:
            remedy = "all is in single precision here; call torch.set_default_dtype(torch.float32)"
            raise UserError(f"torch's default type is {default}: {remedy}")
        if objective.other_source and not test_only and init.has_seen(dataset):
            raise _the_same(dataset)
        data = dataset.load_test(seed) if test_only else dataset.load(seed)
        specification = data.specification
        weights = architecture.number_of_weights(specification.shape, specification.classes)
        check_room("architecture", choice_of(architecture), FLOAT * weights, f"{weights} weights")
        network = architecture.build(specification.shape, specification.classes).to(device)
        objective = objective.bind(specification.class_names)
        parts = (network, architecture, init.bind(dataset), objective, inner_optimizer, seed)
        return cls(data, *parts, augmentation or NoAugmentation())

    def tell(self) -> None:
        """Log the numbers of images, and what the user should know about the data and the network."""
        for line in self.data.counts():
            log.info("%s", line)
        if seen := splits.repeated(self.data):
            told = "%s of %s test images are train or validation images, too: they test nothing"
            log.warning(told, f"{seen:,}", f"{len(self.data.test):,}")
        name = type(self.network).__name__
        if changed := changes(self.network):
            log.info("%s: %s", name, "; ".join(changed))
        if ends_in_softmax(self.network, self.data.specification.shape):
            told = "its outputs are probabilities, and the loss takes logits: remove the softmax at its end"
            log.warning("%s: %s", name, told)
        if is_random(self.network, self.data.specification.shape):
            told = "its outputs for the same images differ from call to call, and so will results"
            log.warning("%s: %s: is it dropout that ignores network.eval()?", name, told)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    @cached_property
    def origin(self) -> Origin:
        """What samples of θ0 depend on."""
        return Origin(self.architecture, self.network, self.data.specification, self.seed)

    def check_networks(self, evaluated: int, validated: int) -> None:
        """Raise ConfigError unless the networks fit the free memory that are held at once."""
        if self.init.known:
            return
        numbers = {
            "evaluation.networks": evaluated,
            "evaluation.validation_networks": validated,
            "init.networks": self.init.networks,
            "init.pool_size": len(self.init.members(validated)),
        }
        key, number = max(numbers.items(), key=lambda item: item[1])
        size = sum(weight.nbytes for weight in self.network.parameters())
        check_room(key, number, sum(numbers.values()) * size, "the weights of all networks")

    def population(self, purpose: str, number: int, step: int = 0) -> list[Weights]:
        """Return `number` samples of θ0 for `purpose` at outer `step`, on the network's device.

        The same arguments always give the same samples.
        """
        population = self.init.population(self.origin, purpose, number, step)
        return [{name: tensor.to(self.device) for name, tensor in weights.items()} for weights in population]

    @property
    def known(self) -> Weights | None:
        """θ0 if it is one known sample, else None."""
        return self.population("init", 1)[0] if self.init.known else None

    def validation(self, images: int) -> Split:
        """Return `images` random images of the validation split, or all if it has fewer.

        Checkpoints and learning rates are chosen on them.
        """
        import torch

        split = self.data.validation
        # The images are chosen at random because many sources are sorted by class.
        order = torch.randperm(len(split), generator=stream(self.seed, "validation images"))
        return split.subset(order[:images])
