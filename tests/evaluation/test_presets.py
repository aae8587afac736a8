"""Ordinary training as the field does it (`training=dc`): that of torch's SGD, schedule and BatchNorm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch import nn

from dataset_distillation.augmentation import of_network
from dataset_distillation.augmentation.dsa import DSA
from dataset_distillation.augmentation.none import NoAugmentation
from dataset_distillation.datasets.data import Split
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.start import start
from dataset_distillation.errors import UserError
from dataset_distillation.evaluation import baselines
from dataset_distillation.evaluation.baselines import BaselineContext
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.evaluation.options import Evaluation, Training
from dataset_distillation.evaluation.presets import PRESETS
from dataset_distillation.evaluation.real_sets import RealSet, Size
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.experiment import compose, of_artifact
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.tree import Evaluate, Experiment
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.inner_optimizers.momentum import Momentum
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.problem import Problem

Make = Callable[..., Experiment]


def preset(name: str, *more: str) -> Training:
    GlobalHydra.instance().clear()
    compose.register(Evaluate)
    of_artifact.register(["dataset=digits"])
    with hydra.initialize_config_module("dataset_distillation.conf", version_base="1.3"):
        typed = ["dataset=digits", "artifact=set.safetensors", f"training={name}", *more]
        read = compose.read(hydra.compose("evaluate", typed))
    assert isinstance(read, Evaluate)
    return read.training


def test_dc_is_the_published_training() -> None:
    assert preset("dc") == Training(
        epochs=300, learning_rate=0.01, batch_size=256, decay=0.1, running_statistics=True,
        optimizer=Momentum(momentum=0.9, weight_decay=5e-4), augmentation=NoAugmentation(),
    )  # fmt: skip
    assert preset("dc", "training.epochs=7").epochs == 7
    assert preset("ours") == Training()


def test_python_has_the_presets_of_conf() -> None:
    assert {name: preset(name) for name in choices("training")} == PRESETS


def test_dsa_and_mtt_are_the_published_ones() -> None:
    dsa = preset("dsa")
    assert dsa == replace(preset("dc"), epochs=1000, augmentation=DSA())
    assert preset("mtt") == replace(dsa, learning_rate=None, mean_rate=True)
    digits = preset("dsa", "training.augmentation.operations=[color,crop,cutout,scale,rotate]").augmentation
    assert digits == DSA(operations=["color", "crop", "cutout", "scale", "rotate"])


def test_images_are_augmented_anew_in_each_step(experiment: Make) -> None:
    """By hand: the loss of each step's own augmented images."""
    problem = prepare(experiment("architecture=mlp", "architecture.width=9"))
    images, labels = problem.data.train.batch(slice(0, 8))
    distilled = DistilledSet(images[None], labels[None], torch.tensor([[0.1]]), {}, {})
    how = Training(epochs=5, mean_rate=True, batch_size=8, augmentation=DSA())
    networks = problem.population("held-out", 2)
    sets = Schedule(distilled, how, 0, 2)
    found = held_out(problem, problem.data.test, networks, sets, how=how).runs["loss"].tolist()
    for j in range(2):
        network = load_weights(problem.network, networks[j])
        sgd = torch.optim.SGD(network.parameters(), lr=0.1)
        for t, step in enumerate(sets[j]):
            seen = DSA().images(step.images, problem.seed, of_network(j), t)
            sgd.zero_grad()
            nn.functional.cross_entropy(network(seen), step.labels).backward()
            sgd.step()
        assert found[j] == pytest.approx(training.test(network, problem.data.test, problem.objective)["loss"])
    plain = held_out(problem, problem.data.test, networks, sets).runs["loss"].tolist()
    assert plain != pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize("options", [["distilled.inner_steps=5"], ["distilled.batch_size=4"]])
def test_baselines_take_as_many_images_in_as_many_steps_as_the_distilled_data(
    options: list[str], experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the training asks for another rate alone: at their own batches, which are drawn alike."""
    e = experiment("architecture=mlp", "distilled.steps=3", "distilled.epochs=2", *options)
    problem, seen = prepare(e), []

    def stop(_: Problem, __: Split, ___: Any, sets: Sequence[Sequence[Step]], *____: Any) -> None:
        seen.extend(sets)
        raise UserError("seen")

    data = start(e.distilled, problem.data.train, 0)
    metadata = {"batches": asdict(data.batches)}
    made = DistilledSet(data.images, data.labels, data.learning_rates.detach(), {}, metadata)
    real = RealSet(data.images, data.labels)
    how, networks = Training(learning_rate=0.1), problem.population("held-out", 1)
    monkeypatch.setattr(baselines, "held_out", stop)
    with pytest.raises(UserError, match="seen"):
        BaselineContext(problem, Evaluation(), networks, Size.of(e.distilled), how=how).by_gradient([real])
    ours = Schedule(made, how, problem.seed, 1)[0]
    assert len(seen[0]) == len(ours) == e.distilled.unrolled
    for theirs, own in zip(seen[0], ours, strict=True):
        assert torch.equal(theirs.images, own.images)
        assert float(theirs.learning_rate) == float(own.learning_rate) == pytest.approx(0.1)


def test_baselines_are_trained_by_hand_in_the_same_way(experiment: Make) -> None:
    """Three random sets and two networks: run j trains network j mod 2 on set j."""
    problem = prepare(experiment("architecture=mlp", "architecture.width=9"))
    sets = [
        RealSet(*(part[None] for part in problem.data.train.batch(slice(8 * i, 8 * i + 8)))) for i in range(3)
    ]
    networks = problem.population("held-out", 2)
    how = Training(epochs=6, learning_rate=0.1, decay=0.5, optimizer=Momentum(momentum=0.8))
    runs = BaselineContext(problem, Evaluation(), networks, Size(1, 1), how=how).by_gradient(sets)
    assert runs[["set", "network", "steps"]].to_numpy().tolist() == [[0, 0, 6], [1, 1, 6], [2, 0, 6]]
    assert "epochs" not in runs  # nothing was chosen
    for i, j, found in runs[["set", "network", "loss"]].itertuples(index=False):
        network = load_weights(problem.network, networks[j])
        sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.8)
        for epoch in range(6):
            sgd.param_groups[0]["lr"] = 0.1 if epoch < 3 else 0.05
            sgd.zero_grad()
            nn.functional.cross_entropy(network(sets[i].images[0]), sets[i].labels[0]).backward()
            sgd.step()
        expected = training.test(network, problem.data.test, problem.objective)["loss"]
        assert found == pytest.approx(expected, rel=1e-4)


def test_it_is_torch_s_sgd_with_a_step_of_the_rate_and_running_statistics(experiment: Make) -> None:
    problem = prepare(experiment("architecture=convnet", "architecture.norm=batch", "architecture.width=4"))
    images, labels = problem.data.train.batch(slice(0, 40))
    distilled = DistilledSet(images[None], labels[None], torch.tensor([[0.5]]), {}, {})
    how = Training(
        epochs=6, learning_rate=0.02, batch_size=16, decay=0.1, running_statistics=True,
        optimizer=Momentum(momentum=0.9, weight_decay=5e-4),
    )  # fmt: skip
    networks = problem.population("held-out", 1)
    sets = Schedule(distilled, how, 0, 1)
    problem.network.eval()  # as an earlier test leaves it
    [found] = held_out(problem, problem.data.test, networks, sets, how=how).runs["loss"]

    network = load_weights(problem.network, networks[0])
    for norm in [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]:
        norm.__init__(norm.num_features)  # type: ignore[misc]
    load_weights(network, networks[0]).train()
    sgd = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    rates = torch.optim.lr_scheduler.MultiStepLR(sgd, [3], gamma=0.1)
    for epoch in range(6):
        for step in sets[0][3 * epoch : 3 * epoch + 3]:
            sgd.zero_grad()
            nn.functional.cross_entropy(network(step.images), step.labels).backward()
            sgd.step()
        rates.step()
    expected = training.test(network.eval(), problem.data.test, problem.objective)["loss"]
    assert found == pytest.approx(expected, rel=1e-5)
    plain = held_out(problem, problem.data.test, networks, sets).runs["loss"].item()
    assert abs(plain / expected - 1) > 1e-3  # a hundred times the tolerance


def test_the_mean_of_the_learned_rates_is_one_rate() -> None:
    images, rates = torch.zeros(2, 3, 1, 2, 2), torch.tensor([[0.1, 0.3], [0.2, 0.6]])
    distilled = DistilledSet(images, torch.zeros(2, 3, dtype=torch.long), rates, {}, {})
    how = Training(epochs=4, mean_rate=True, batch_size=4, decay=0.5)
    found = [round(step.learning_rate.item(), 4) for step in Schedule(distilled, how, 0, 1)[0]]
    assert found == [0.3] * 4 + [0.15] * 4
