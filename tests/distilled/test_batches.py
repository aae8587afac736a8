"""Inner batches, shared rates and probabilities: which images a step has, and exact in every engine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dataset_distillation import load_distilled
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.data import Batches
from dataset_distillation.distilled.options import Distilled
from dataset_distillation.distilled.start import start
from dataset_distillation.errors import ConfigError
from dataset_distillation.evaluation.options import Training
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer import memory
from dataset_distillation.outer.describe import describe
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.randomness import stream
from support.experiments import module_of, outer_loss_of
from support.networks import OPTIONS, losses_and_gradients

Make = Callable[..., Experiment]

SMALL = (*OPTIONS, "architecture=linear", "distilled.steps=2")
DRAWN = ("distilled.batch_size=7", "distilled.inner_steps=5")


def test_batches_are_drawn_by_name_and_step_or_go_round() -> None:
    drawn = [Batches(9, 4).indices(t, 10, 3, "a") for t in range(9)]
    assert all(len(set(batch.tolist())) == 4 for batch in drawn)
    assert set(torch.cat(drawn).tolist()) == set(range(10))
    assert torch.equal(drawn[5], torch.randperm(10, generator=stream(3, "a", 5))[:4])
    assert not torch.equal(drawn[0], drawn[1])
    ordered = [Batches(4, 4, random=False).indices(t, 10, 3, "a").tolist() for t in range(4)]
    assert ordered == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5]]
    assert sorted(Batches(1, 40).indices(0, 10, 3, "a").tolist()) == list(range(10))


@pytest.mark.parametrize("labels", ["fixed", "learned", "probabilities"])
def test_a_step_has_the_images_labels_and_rate_that_it_should(labels: str, experiment: Make) -> None:
    module = module_of(experiment(*DRAWN, f"distilled.labels={labels}"))
    steps = module.schedule(3)[2]
    images, targets = module.distilled.images.flatten(0, 1), module.distilled.targets.flatten(0, 1)
    assert len(steps) == 5
    for t, step in enumerate(steps):
        chosen = torch.randperm(20, generator=stream(0, "batches of network 2", t))[:7]
        assert torch.equal(step.images, images[chosen])
        assert torch.equal(step.labels, targets[chosen])
        assert torch.equal(step.learning_rate, module.distilled.learning_rates[0, t])


def test_more_inner_steps_than_batches_begin_again(experiment: Make) -> None:
    module = module_of(experiment("distilled.inner_steps=5", "distilled.rates=shared"))
    steps = module.schedule(1)[0]
    assert module.distilled.learning_rates.shape == (1, 1)
    assert [int(t) for t in (0, 1, 0, 1, 0)] == [
        next(i for i in range(2) if torch.equal(step.images, module.distilled.images[i])) for step in steps
    ]
    assert [float(step.learning_rate) for step in steps] == pytest.approx([0.02] * 5)


def test_probabilities_are_a_softmax_with_a_temperature(experiment: Make) -> None:
    e = experiment("distilled.labels=probabilities", "distilled.temperature=0.5")
    data = start(e.distilled, prepare(e).data.train, 0)
    torch.testing.assert_close(data.targets.sum(-1), torch.ones(2, 10))
    e2 = torch.tensor(2.0).exp()
    torch.testing.assert_close(data.targets[0, 3, 3], e2 / (e2 + 9))
    torch.testing.assert_close(data.targets[0, 3, 4], 1 / (e2 + 9))


@pytest.mark.parametrize(
    ("options", "engine", "choice"),
    [
        ("distilled.labels=learned", "unroll=full", "on"),
        ("distilled.labels=probabilities distilled.rates=shared", "unroll=recompute", "on"),
        ("distilled.rates=shared augmentation=shift_rotate", "unroll=recompute", "off"),
        ("distilled.labels=probabilities distilled.batch_order=in_order", "unroll=traced", "on"),
        ("distilled.labels=learned", "unroll=truncated unroll.window=5 unroll.start=0", "on"),
        ("distilled.batch_size=null distilled.rates=shared", "unroll=recompute", "on"),
    ],
)
def test_the_engines_agree(options: str, engine: str, choice: str, experiment: Make) -> None:
    """Losses, gradients and norms of two outer steps in float64, with `full`, one network after the other."""
    given = (*SMALL, *DRAWN, *options.split())
    reference = losses_and_gradients(experiment(*given, "unroll=full"), "off")
    ours = losses_and_gradients(experiment(*given, *engine.split()), choice)
    for one, other in zip(ours, reference, strict=True):
        assert other.norm() > 0
        assert (one - other).norm() <= 1e-9 * other.norm()


@pytest.mark.parametrize("labels", ["fixed", "probabilities"])
def test_the_meta_gradient_is_that_of_finite_differences(labels: str, experiment: Make) -> None:
    e = experiment(*DRAWN, "architecture=linear", f"distilled.labels={labels}", "outer.clip=null")
    loss = outer_loss_of(e)
    loss.problem.network.double()
    data = loss.distilled.double()
    images, labels_ = loss.problem.data.train.batch(torch.arange(16))
    [weights] = loss.problem.population("init", 1)
    population = [{name: weight.double() for name, weight in weights.items()}]
    real = type(loss.problem.data.train.batch(torch.arange(1)))(images.double(), labels_)
    parameters = list(data.parameters())
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(loss(population, 3, real).mean(), parameters), strict=True
    ):
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).double()
        sides = []
        for way in (1e-5, -2e-5):
            parameter.data += way * direction
            sides.append(loss(population, 3, real).mean().detach())
        parameter.data += 1e-5 * direction
        torch.testing.assert_close(
            (gradient * direction).sum(), (sides[0] - sides[1]) / 2e-5, rtol=1e-6, atol=1e-9
        )


def test_the_file_says_how_and_trains_alike(experiment: Make, tmp_path: Path) -> None:
    """A network by `train`, and by torch.optim on the steps; a schedule has the same steps."""
    e = experiment(*DRAWN, "distilled.labels=probabilities", "distilled.rates=shared", "architecture=mlp")
    problem = prepare(e)
    made = describe(problem, start(e.distilled, problem.data.train, 0), {"config": {}, "seed": 0})
    made.save(tmp_path / "distilled.safetensors")
    read = load_distilled(tmp_path / "distilled.safetensors")
    assert read.batches == Batches(5, 7)
    assert "5 steps, each with 7 of all images, chosen at random" in read.metadata["order"]
    assert read.rates_by_epoch.shape == (3, 2)
    ours, theirs = copy.deepcopy(problem.network), copy.deepcopy(problem.network)
    read.train(ours)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=float(read.learning_rates))
    for t in range(5):
        chosen = torch.randperm(20, generator=stream(0, "batches of network 0", t))[:7]
        images, labels = read.images.flatten(0, 1)[chosen], read.labels.flatten(0, 1)[chosen]
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(images), labels).backward()
        optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    schedule = Schedule(read, Training(), 0, 2)
    assert schedule.steps == len(schedule[1]) == 5
    assert torch.equal(schedule[0][2].images, next(s for t, s in enumerate(read.steps) if t == 2).images)
    assert not torch.equal(schedule[0][2].images, schedule[1][2].images)
    assert Schedule(read, Training(epochs=4), 0, 1).steps == 8


def test_a_drawn_batch_is_kept_for_each_step(experiment: Make) -> None:
    sizes = memory.measure(outer_loss_of(experiment(*DRAWN, "architecture=linear")))
    assert (sizes.steps, sizes.inputs) == (5, 2 * 7 * 4 * 28 * 28)
    assert memory.measure(outer_loss_of(experiment("architecture=linear"))).inputs == 0


def test_what_is_refused(experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"distilled\.temperature=0: must be greater than 0"):
        Distilled(temperature=0)
    with pytest.raises(ConfigError, match=r"distilled\.rates=one: must be one of per_step, shared"):
        Distilled(rates="one")  # type: ignore[arg-type]
    linear = ("dataset=linear_regression", "architecture=linear", "objective=regression")
    with pytest.raises(ConfigError, match=r"distilled\.labels=probabilities: .* has numbers"):
        experiment(*linear, "distilled.labels=probabilities")
    attack = ("objective=attack", "init=pretrained", "distilled.steps=1", "distilled.epochs=1")
    with pytest.raises(ConfigError, match=r"distilled\.inner_steps=3: an attack is one gradient step"):
        experiment(*attack, "distilled.inner_steps=3")
    with pytest.raises(ConfigError, match=r"distilled\.inner_steps=2: must be distilled\.steps=3 or more"):
        experiment("distilled.steps=3", "distilled.inner_steps=2")
    in_order = ("distilled.batch_size=9", "distilled.batch_order=in_order", "distilled.steps=1")
    e = experiment(*in_order, "distilled.inner_steps=1")
    train = prepare(e).data.train
    with pytest.raises(
        ConfigError, match=r"distilled\.batch_size=9: the batches in order end after 9 of the 10 images"
    ):
        start(e.distilled, train, 0)
    start(replace(e.distilled, inner_steps=2), train, 0)
    images = torch.zeros(1, 10, *train.specification.shape)
    metadata = {"class_names": list("0123456789"), "mean": [0.5], "std": [1.0], "architecture": "linear",
                "inner_optimizer": "sgd", "config": {}}  # fmt: skip
    DistilledSet(images, torch.arange(10).view(1, 10), torch.ones(1, 1), {}, metadata).save(
        tmp_path / "set.safetensors"
    )
    of_artifact = replace(e.distilled, start="artifact", start_from=str(tmp_path / "set.safetensors"))
    with pytest.raises(ConfigError, match="the batches in order end after 9 of the 10 images"):
        start(of_artifact, train, 0)
