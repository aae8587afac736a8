"""Inner trainings small enough for finite differences, and what their meta-gradients are held against."""

from __future__ import annotations

import math
from typing import Self

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from dataset_distillation.architectures import Weights
from dataset_distillation.architectures.convnet import ConvNet
from dataset_distillation.architectures.lenet import LeNet
from dataset_distillation.distilled.data import sequence
from dataset_distillation.inner.step import InnerTraining, Linearization
from dataset_distillation.inner_optimizers import InnerOptimizer, Step
from dataset_distillation.inner_optimizers.adam import Adam
from dataset_distillation.inner_optimizers.momentum import Momentum
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.unroll import Unroll

OPTIMIZERS: dict[str, InnerOptimizer] = {
    "sgd": SGD(),
    "sgd-decay": SGD(weight_decay=0.1),
    "momentum": Momentum(),
    "nesterov-decay": Momentum(momentum=0.8, nesterov=True, weight_decay=0.1),
    "adam": Adam(),
    "adam-decay": Adam(weight_decay=0.1, betas=[0.5, 0.9], eps=1e-3),
}
CASES = [(1, 1, 1), (1, 3, 3), (2, 1, 2), (3, 2, 3), (30, 1, 3), (10, 3, 3)]  # steps, epochs, batch

optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=list(OPTIMIZERS))


class Case:
    """A network and distilled data for it, in float64; the labels are probabilities, learned too."""

    network: nn.Module
    shape: tuple[int, ...] = (1, 2, 2)
    classes = 3

    def __init__(self, steps: int, epochs: int, batch: int) -> None:
        generator = torch.Generator().manual_seed(steps * 100 + epochs * 10 + batch)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.network = self.build().double()
        self.programs: dict[str, Linearization | None] = {}
        self.weights = {
            name: normal(*p.shape) / math.sqrt(p[0].numel()) for name, p in self.network.named_parameters()
        }
        self.images = normal(steps, batch, *self.shape).requires_grad_()
        self.labels = normal(steps, batch, self.classes).softmax(-1).requires_grad_()
        self.rates = (0.05 + 0.1 * torch.rand(epochs, steps, generator=generator).double()).requires_grad_()
        self.real, self.real_labels = normal(6, *self.shape), torch.arange(6).remainder(self.classes)

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))  # smooth

    def single(self) -> Self:
        """Change everything to single precision."""
        self.network.float()
        self.weights = {name: weight.float() for name, weight in self.weights.items()}
        for name in ("images", "labels", "rates", "real"):
            tensor = getattr(self, name)
            setattr(self, name, tensor.detach().float().requires_grad_(tensor.requires_grad))
        return self

    @property
    def meta(self) -> dict[str, Tensor]:
        return {"images": self.images, "labels": self.labels, "rates": self.rates}

    def steps(self) -> list[Step]:
        return list(sequence(self.images, self.labels, self.rates))

    def final_weights(self, engine: Unroll, optimizer: InnerOptimizer) -> Weights:
        key = repr((engine, optimizer))
        if key not in self.programs:  # which serve many outer steps, as in a run
            self.programs[key] = engine.linearization()
        by = self.programs[key]
        inner = InnerTraining(self.network, self.weights, optimizer, functional.cross_entropy, by)
        return engine.unroll(inner, self.steps())

    def outer_loss(self, final: Weights) -> Tensor:
        outputs = functional_call(self.network, final, (self.real,))
        return functional.cross_entropy(outputs, self.real_labels)

    def meta_gradient(self, engine: Unroll, optimizer: InnerOptimizer) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            self.outer_loss(self.final_weights(engine, optimizer)), list(self.meta.values())
        )


class OnLeNet(Case):
    shape, classes = (1, 28, 28), 10

    def build(self) -> nn.Module:
        return LeNet().build((1, 28, 28), 10)


class OnConvNet(Case):
    shape, classes = (3, 16, 16), 10

    def build(self) -> nn.Module:
        return ConvNet(width=8).build((3, 16, 16), 10)


def assert_equal(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], error: float) -> None:
    """To a relative error of the norm."""
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert (a - b).norm() <= error * b.norm()


def by_hand(
    optimizer: InnerOptimizer, case: Case, start: int = 0, stop: int | None = None
) -> tuple[Tensor, ...]:
    """The meta-gradient through the update rules as torch.optim's documentation states them.

    Of the steps in [start, stop) alone; those after it are not taken.
    """
    weights = {name: weight.clone().requires_grad_() for name, weight in case.weights.items()}
    memory: dict[str, list[Tensor]] = {name: [torch.zeros_like(w)] * 2 for name, w in weights.items()}
    for t, step in enumerate(case.steps()[:stop], 1):
        if t == start + 1:
            weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
            memory = {name: [tensor.detach() for tensor in both] for name, both in memory.items()}
        outputs = functional_call(case.network, weights, (step.images,))
        loss = functional.cross_entropy(outputs, step.labels)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        for (name, weight), g in zip(list(weights.items()), gradients, strict=True):
            g = g + optimizer.weight_decay * weight
            first, second = memory[name]
            if isinstance(optimizer, Adam):
                beta1, beta2 = optimizer.betas
                first, second = beta1 * first + (1 - beta1) * g, beta2 * second + (1 - beta2) * g**2
                g = first / (1 - beta1**t) / ((second / (1 - beta2**t)).sqrt() + optimizer.eps)
            elif isinstance(optimizer, Momentum):
                first = optimizer.momentum * first + g
                g = g + optimizer.momentum * first if optimizer.nesterov else first
            memory[name] = [first, second]
            weights[name] = weight - step.learning_rate * g
    return torch.autograd.grad(case.outer_loss(weights), list(case.meta.values()))
