"""The meta-gradient against closed forms, finite differences, torch.optim and a hand-written reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from dataset_distillation import training
from dataset_distillation.architectures import Weights
from dataset_distillation.architectures.lenet import LeNet
from dataset_distillation.distilled import sequence
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.unroll.full import Full


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Eq 5: ‖dθ − t‖² / (2M)."""
    return (outputs - targets).square().sum() / (2 * len(targets))


def weights_of(network: nn.Module) -> Weights:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


class Case:
    """A small smooth network and distilled data for it, in float64."""

    def __init__(self, steps: int, epochs: int, batch: int) -> None:
        generator = torch.Generator().manual_seed(steps * 100 + epochs * 10 + batch)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.network = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        self.weights = {name: normal(*p.shape) for name, p in self.network.named_parameters()}
        self.images = normal(steps, batch, 1, 2, 2).requires_grad_()
        self.labels = torch.arange(batch).remainder(3).repeat(steps, 1)
        self.rates = (0.1 + 0.2 * torch.rand(epochs, steps, generator=generator).double()).requires_grad_()
        self.real = normal(6, 1, 2, 2)
        self.real_labels = torch.arange(6).remainder(3)

    def final_weights(self) -> Weights:
        steps = sequence(self.images, self.labels, self.rates)
        return Full().unroll(self.network, self.weights, steps, SGD(), functional.cross_entropy)

    def outer_loss(self) -> Tensor:
        outputs = functional_call(self.network, self.final_weights(), (self.real,))
        return functional.cross_entropy(outputs, self.real_labels)


CASES = [(1, 1, 1), (1, 3, 3), (2, 1, 2), (3, 2, 3), (30, 1, 3), (10, 3, 3)]


@pytest.mark.parametrize(("steps", "epochs", "batch"), CASES)
def test_the_meta_gradient_is_that_of_finite_differences(steps: int, epochs: int, batch: int) -> None:
    case = Case(steps, epochs, batch)
    gradients = torch.autograd.grad(case.outer_loss(), (case.images, case.rates))
    for tensor, gradient in zip((case.images, case.rates), gradients, strict=True):
        direction = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        h = 1e-5
        tensor.data += h * direction
        above = case.outer_loss()
        tensor.data -= 2 * h * direction
        below = case.outer_loss()
        tensor.data += h * direction
        expected = (above - below) / (2 * h)  # error O(h²)
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-7, atol=1e-9)


def test_one_step_of_the_linear_case_is_equation_6() -> None:
    """θ1 = (I − (η̃/M) d̃ᵀd̃) θ0 + (η̃/M) d̃ᵀt̃."""
    generator = torch.Generator().manual_seed(0)
    d, t, theta = (
        torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((3, 4), (3, 1), (4, 1))
    )
    rate = torch.tensor(0.3, dtype=torch.float64)
    network = nn.Linear(4, 1, bias=False).double()
    final = Full().unroll(network, {"weight": theta.T.clone()}, [Step(d, t, rate)], SGD(), squared)
    expected = (torch.eye(4) - rate / 3 * d.T @ d) @ theta + rate / 3 * d.T @ t
    torch.testing.assert_close(final["weight"].T, expected, rtol=1e-14, atol=1e-14)


def test_lenet_agrees_with_a_reference_written_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    network = LeNet().build((1, 28, 28), 10).double()
    weights = weights_of(network)
    images = torch.randn(2, 10, 1, 28, 28, generator=generator, dtype=torch.float64).requires_grad_()
    rates = torch.full((2, 2), 0.1, dtype=torch.float64).requires_grad_()
    labels = torch.arange(10).repeat(2, 1)
    real = torch.randn(16, 1, 28, 28, generator=generator, dtype=torch.float64)

    def meta_gradient(final: Weights) -> tuple[Tensor, ...]:
        loss = functional.cross_entropy(functional_call(network, final, (real,)), torch.arange(16) % 10)
        return torch.autograd.grad(loss, (images, rates))

    steps = sequence(images, labels, rates)
    final = Full().unroll(network, weights, steps, SGD(), functional.cross_entropy)
    reference = {name: weight.requires_grad_() for name, weight in weights_of(network).items()}
    for epoch in range(2):
        for step in range(2):
            outputs = functional_call(network, reference, (images[step],))
            loss = functional.cross_entropy(outputs, labels[step])
            gradients = torch.autograd.grad(loss, list(reference.values()), create_graph=True)
            reference = {
                name: weight - rates[epoch, step] * gradient
                for (name, weight), gradient in zip(reference.items(), gradients, strict=True)
            }
    for ours, theirs in zip(meta_gradient(final), meta_gradient(reference), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_same_weights_as_plain_training_with_torch_optim() -> None:
    case = Case(3, 2, 3)
    final = case.final_weights()
    training.load(case.network, case.weights)
    training.train(case.network, sequence(case.images, case.labels, case.rates), SGD())
    for name, parameter in case.network.named_parameters():
        torch.testing.assert_close(parameter.detach(), final[name].detach(), rtol=1e-13, atol=1e-13)


def test_neither_the_network_nor_the_initial_weights_change() -> None:
    case = Case(2, 1, 3)
    before = weights_of(case.network), {name: weight.clone() for name, weight in case.weights.items()}
    case.outer_loss().backward()
    for name, parameter in case.network.named_parameters():
        assert torch.equal(parameter, before[0][name])
        assert parameter.grad is None
        assert torch.equal(case.weights[name], before[1][name])


def test_a_frozen_parameter_stays() -> None:
    case = Case(3, 2, 3)
    case.network[1].requires_grad_(False)
    final = case.final_weights()
    assert torch.equal(final["1.weight"], case.weights["1.weight"])
    assert not torch.equal(final["3.weight"], case.weights["3.weight"])
    training.load(case.network, case.weights)
    training.train(case.network, sequence(case.images, case.labels, case.rates), SGD())
    for name, parameter in case.network.named_parameters():
        torch.testing.assert_close(parameter.detach(), final[name].detach(), rtol=1e-13, atol=1e-13)
