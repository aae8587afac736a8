"""What distillation and evaluation have in common: data, a network, p(θ0), an objective, a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture, Weights
from dataset_distillation.architectures.given import Given
from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.data import Data, Split
from dataset_distillation.datasets.in_memory import InMemory
from dataset_distillation.errors import choice_of, refuse
from dataset_distillation.init import Init, Origin
from dataset_distillation.init.random import Random
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.objectives import Objective
from dataset_distillation.objectives.regression import Regression
from dataset_distillation.objectives.standard import Standard
from dataset_distillation.randomness import stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def check_parts(
    dataset: Dataset, architecture: Architecture, init: Init, objective: Objective, stored: bool = False
) -> None:
    """Raise ConfigError unless these fit each other; `stored`: an artifact may hold θ0."""
    size, name = dataset.image_size, f"dataset.name={dataset.name}"
    architecture.check((dataset.channels, size, size))
    if objective.numbers and not dataset.numbers:
        allowed, remedy = f"predicts numbers, and {name} has classes", "use objective=standard"
        raise refuse("objective", choice_of(objective), allowed, remedy)
    if dataset.numbers and not objective.numbers:
        allowed, remedy = f"is about classes, and {name} has numbers", "use objective=regression"
        raise refuse("objective", choice_of(objective), allowed, remedy)
    init.check(dataset, stored)
    if objective.trained_init and not init.trained:
        other = " dataset@init.source=..." if objective.other_source else ""
        remedy = f"use init=pretrained{other}"
        raise refuse("objective", choice_of(objective), "is of trained networks", remedy)
    if objective.other_source and init.trained_on(dataset):
        remedy = "choose another, for example dataset@init.source=usps, or objective=standard"
        raise refuse("init.source", dataset.name, "is the dataset that is distilled", remedy)
    if dataset.class_names:
        objective.check(dataset.class_names)


@dataclass(frozen=True)
class Problem:
    """`network` gives the form of θ; its own weights mean nothing."""

    data: Data
    network: nn.Module
    architecture: Architecture
    init: Init  # bound to the dataset
    objective: Objective  # bound to the classes
    inner_optimizer: InnerOptimizer
    seed: int

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
        validation: float = 0.1,
        seed: int = 0,
    ) -> Problem:
        """The problem of your own data and network; neither is changed.

        images, labels, test, class_names, validation: as `InMemory` takes them.
        network: your own module, of which a copy is used, on the device where it is; or one of this
            package, `LeNet()`, `ConvNet(width=64)`, ...
        init: where θ0 comes from (Section 3.5), `Random()` by default.
        objective: what the distilled data are for, `Standard()` by default, `Regression()` for numbers.
        inner_optimizer: how an inner step is made, `SGD()` by default.
        seed: of every draw: the validation split, θ0, real batches, where pixels start.

        Raises ConfigError or UserError, one line, where these do not fit each other.
        """
        dataset = InMemory(images, labels, test=test, class_names=class_names, validation=validation)
        default = Regression() if dataset.numbers else Standard()
        architecture = network if isinstance(network, Architecture) else Given(network)
        init, objective = init or Random(), objective or default
        check_parts(dataset, architecture, init, objective)
        return cls.load(dataset, architecture, init, objective, inner_optimizer or SGD(), seed)

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
        device: torch.device | None = None,
        test_only: bool = False,
    ) -> Problem:
        """Load the data, or of them the test split alone, and build the network."""
        data = dataset.load_test(seed) if test_only else dataset.load(seed)
        specification = data.specification
        network = architecture.build(specification.shape, specification.classes).to(device)
        objective = objective.bind(specification.class_names)
        return cls(data, network, architecture, init.bind(dataset), objective, inner_optimizer, seed)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @cached_property
    def origin(self) -> Origin:
        """What samples of θ0 depend on."""
        return Origin(self.architecture, self.network, self.data.specification, self.seed)

    def population(self, purpose: str, number: int, step: int = 0) -> list[Weights]:
        """`number` initial weights θ0 for `purpose` at outer `step`, on the network's device."""
        population = self.init.population(self.origin, purpose, number, step)
        return [{name: tensor.to(self.device) for name, tensor in weights.items()} for weights in population]

    @property
    def known(self) -> Weights | None:
        """θ0, where it is one known sample."""
        return self.population("init", 1)[0] if self.init.known else None

    def validation(self, images: int) -> Split:
        """`images` of the validation split, that checkpoints and learning rates are chosen on."""
        import torch

        split = self.data.validation
        # At random: many sources are sorted by class.
        order = torch.randperm(len(split), generator=stream(self.seed, "validation images"))
        return split.subset(order[:images])
