"""Augmented inner steps and real batches: exact in every engine, and alike wherever networks are trained."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from dataset_distillation.architectures import stateless
from dataset_distillation.datasets.data import Batch
from dataset_distillation.distilled.start import start
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.evaluation.options import Evaluation
from dataset_distillation.evaluation.real_sets import RealSet
from dataset_distillation.evaluation.selection import gradient_trial
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.outer.describe import describe
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.randomness import stream
from support.experiments import outer_loss_of
from support.machine import compiler
from support.networks import OPTIONS, losses_and_gradients

Make = Callable[..., Experiment]

SMALL = (*OPTIONS, "architecture=mlp", "architecture.width=8", "distilled.steps=2")
AUGMENTED = ("augmentation=shift_rotate", "augmentation.pixels=3")


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("engine", "choice", "labels"),
    [
        ("unroll=full", "on", "learned"),
        ("unroll=recompute", "off", "fixed"),
        pytest.param("unroll=recompute", "on", "learned", marks=slow),
        ("unroll=traced", "on", "learned"),
        pytest.param("unroll=traced", "on", "fixed", marks=slow),
        pytest.param("unroll=traced", "off", "learned", marks=slow),
        ("unroll=truncated unroll.window=4 unroll.start=0", "on", "fixed"),
        pytest.param(
            "unroll=truncated unroll.window=4 unroll.start=0 unroll.stored=true", "off", "learned", marks=slow
        ),
        pytest.param("unroll=recompute unroll.compile=true", "on", "learned", marks=[slow, compiler]),
        pytest.param("unroll=traced unroll.compile=true", "on", "fixed", marks=[slow, compiler]),
    ],
)
def test_the_engines_agree(engine: str, choice: str, labels: str, experiment: Make) -> None:
    """Losses, gradients and norms in float64, of two outer steps with draws of their own."""
    options = (*SMALL, *AUGMENTED, f"distilled.labels={labels}")
    reference = losses_and_gradients(experiment(*options, "unroll=full"), "off")
    plain = losses_and_gradients(experiment(*SMALL, f"distilled.labels={labels}", "unroll=full"), "off")
    ours = losses_and_gradients(experiment(*options, *engine.split()), choice)
    for one, other, without in zip(ours, reference, plain, strict=True):
        assert (one - other).norm() <= 1e-9 * other.norm()
        assert (without - other).norm() > 1e-3 * other.norm()


@pytest.mark.parametrize("stored", ["false", pytest.param("true", marks=slow)])
def test_the_steps_before_a_window_are_augmented_as_in_full(stored: str, experiment: Make) -> None:
    """So the losses are those of the whole unroll, and the gradients the same in both kinds of window."""
    options = (*SMALL, *AUGMENTED)
    whole = losses_and_gradients(experiment(*options, "unroll=full"), "off")
    window = ("unroll=truncated", "unroll.window=2")
    ours = losses_and_gradients(experiment(*options, *window, f"unroll.stored={stored}"), "off")
    other = losses_and_gradients(experiment(*options, *window), "on")
    assert (ours[0] - whole[0]).norm() <= 1e-12 * whole[0].norm()
    assert (ours[1] - whole[1]).norm() > 1e-3 * whole[1].norm()
    for one, another in zip(ours, other, strict=True):
        assert (one - another).norm() <= 1e-9 * another.norm()


def test_each_outer_step_has_batches_and_changes_of_its_own(
    experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their names: the inner batches, what changes them, and what changes the real batch."""
    small = ("architecture=linear", "dataset.image_size=8", "augmentation=shift_rotate")
    loss = outer_loss_of(experiment(*small, "distilled.batch_size=5", "distilled.inner_steps=3"))
    data, augmentation = loss.distilled, loss.problem.augmentation
    every_image, every_label = data.images.flatten(0, 1), data.labels.flatten()
    own = [data.images, data.raw_learning_rates, data.labels]
    for step in (0, 7):
        purpose = f"augmentation in outer step {step}"
        for t, inner in enumerate(loss.inner_steps(own, step)):
            chosen = torch.randperm(20, generator=stream(0, f"batches in outer step {step}", t))[:5]
            assert torch.equal(inner.labels, every_label[chosen])
            assert torch.equal(inner.images, augmentation.images(every_image[chosen], 0, purpose, t))
    seen: list[torch.Tensor] = []
    outputs = loss._outputs
    monkeypatch.setattr(loss, "_outputs", lambda weights, x: seen.append(x) or outputs(weights, x))
    real, population = loss.problem.data.train.batch(slice(0, 6)), loss.problem.population("init", 1)
    for step in (0, 7):
        loss(population, step, real)
        named = augmentation.images(real.images, 0, "augmentation of the real batch", step)
        assert torch.equal(seen[-1], named)
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("augmentation", ["flip_rotate", "dsa"])
def test_the_meta_gradient_is_that_of_finite_differences(augmentation: str, experiment: Make) -> None:
    options = ("architecture=linear", "distilled.epochs=3", "outer.clip=null")
    e = experiment(*options, f"augmentation={augmentation}")
    problem = prepare(e)
    problem.network.double()
    data = start(e.distilled, problem.data.train, e.seed).double()
    loss = OuterLoss(problem, data, e.outer, e.unroll, networks=1)
    images, labels = problem.data.train.batch(torch.arange(16))
    [weights] = problem.population("init", 1)
    population = [{name: weight.double() for name, weight in weights.items()}]

    def value() -> torch.Tensor:
        return loss(population, 5, Batch(images.double(), labels)).mean()

    for parameter, gradient in zip(
        data.parameters(), torch.autograd.grad(value(), list(data.parameters())), strict=True
    ):
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).double()
        sides = []
        for way in (1e-6, -2e-6):
            parameter.data += way * direction
            sides.append(value().detach())
        parameter.data += 1e-6 * direction
        expected = (sides[0] - sides[1]) / 2e-6
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-6, atol=1e-9)


def test_held_out_networks_are_trained_on_augmented_images(experiment: Make) -> None:
    """Against plain PyTorch; an artifact trains network 0 alike; a baseline with the same set is the same."""
    e = experiment("architecture=mlp", *AUGMENTED, "distilled.epochs=2", "distilled.learning_rate=0.1")
    problem = prepare(e)
    data = start(e.distilled, problem.data.train, e.seed)
    networks = problem.population("held-out", 2)
    with torch.no_grad():
        steps = list(data.steps(*data.parameters()))
    ours = held_out(problem, problem.data.test, networks, [steps]).runs
    for j, weights in enumerate(networks):
        network = load_weights(copy.deepcopy(problem.network), weights)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for t, step in enumerate(steps):
            images = e.augmentation.images(step.images, e.seed, f"augmentation of network {j}", t)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), step.labels).backward()
            optimizer.step()
        test = problem.data.test.batch()
        accuracy = (network(test.images).argmax(1) == test.labels).double().mean().item()
        assert ours["accuracy"][j] == pytest.approx(accuracy)
        if j == 0:
            config = {"augmentation": {"pixels": 3.0, "degrees": 10.0}}
            made = describe(problem, data, {"config": config, "seed": e.seed})
            trained = made.train(load_weights(stateless(copy.deepcopy(problem.network)), weights))
            for one, other in zip(trained.parameters(), network.parameters(), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    real = RealSet(data.images.detach(), data.labels)
    grid = {"learning_rate": [0.1], "epochs": [2]}
    runs = gradient_trial(problem, Evaluation(), [real])(problem.data.test, networks, grid)
    assert list(runs["accuracy"]) == pytest.approx(list(ours["accuracy"]))
