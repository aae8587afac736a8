"""Evaluation: the same networks for every method; nothing of the test set before the end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pandas
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from dataset_distillation.datasets.data import Split
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.evaluation.options import Statistics
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.networks import batch_norm, training
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.problem import Problem
from dataset_distillation.randomness import stream

Make = Callable[..., Experiment]


@pytest.fixture
def problem(experiment: Make) -> Problem:
    return prepare(experiment("evaluation.networks=3"))


def real_step(problem: Problem, seed: int, rate: float = 0.1) -> Step:
    indices = torch.randint(len(problem.data.train), (64,), generator=torch.Generator().manual_seed(seed))
    return Step(*problem.data.train.batch(indices), torch.tensor(rate))


def test_the_test_is_that_of_scikit_learn(problem: Problem) -> None:
    """On 360 images, so that the last chunk is smaller than the others."""
    network = load_weights(problem.network, problem.population("any", 1)[0])
    training.train(network, [real_step(problem, 0)] * 3, problem.inner_optimizer)
    tested = training.test(network, problem.data.test, problem.objective)
    images, labels = problem.data.test.batch()
    with torch.no_grad():
        outputs = network(images)
    assert tested["accuracy"] == pytest.approx(accuracy_score(labels, outputs.argmax(1)), abs=1e-7)
    assert tested["loss"] == pytest.approx(log_loss(labels, outputs.double().softmax(1)), rel=1e-5)


def test_the_same_purpose_is_the_same_networks(problem: Problem) -> None:
    split = problem.data.test
    once, again, other = (
        held_out(problem, split, problem.population(purpose, 3)).runs
        for purpose in ("held-out", "held-out", "validation")
    )
    pandas.testing.assert_frame_equal(once, again)
    assert not (once["loss"] == other["loss"]).any()
    assert once["loss"].nunique() == 3


def test_more_networks_leave_the_first_ones_as_they_were(problem: Problem) -> None:
    three, five = (problem.population("held-out", number) for number in (3, 5))
    assert [list(weights) for weights in three] == [list(weights) for weights in five[:3]]
    for ours, theirs in zip(three, five, strict=False):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_each_outer_step_draws_networks_of_its_own(experiment: Make) -> None:
    problem = prepare(experiment("architecture=linear", "dataset.image_size=8"))
    names = [("init", 0), ("init", 1), ("init", 0), ("held-out", 0)]
    drawn = [[w["1.weight"] for w in problem.population(purpose, 2, step)] for purpose, step in names]
    assert all(torch.equal(one, again) for one, again in zip(drawn[0], drawn[2], strict=True))
    different = [*drawn[0], *drawn[1], *drawn[3]]
    assert len({weight.numpy().tobytes() for weight in different}) == 6


def test_run_j_trains_network_j_mod_n_on_set_j_mod_s(problem: Problem) -> None:
    sets = [[real_step(problem, seed)] for seed in range(5)]
    networks = problem.population("held-out", 3)
    results = held_out(problem, problem.data.test, networks, sets).runs
    assert results[["set", "network"]].to_numpy().tolist() == [[0, 0], [1, 1], [2, 2], [3, 0], [4, 1]]
    network = load_weights(problem.network, networks[4 % 3])
    training.train(network, sets[4], problem.inner_optimizer)
    alone = training.test(network, problem.data.test, problem.objective)
    assert results.drop(columns=["set", "network", "steps"]).iloc[4].to_dict() == alone


def test_a_fixed_initialization_is_one_network_for_every_purpose(experiment: Make) -> None:
    problem = prepare(experiment("init=fixed"))
    drawn = [
        problem.population(purpose, 7, step) for purpose, step in (("init", 0), ("init", 9), ("held-out", 0))
    ]
    assert [len(population) for population in drawn] == [1, 1, 1]
    for name, weight in drawn[0][0].items():
        assert all(torch.equal(weight, population[0][name]) for population in drawn)


def test_the_chosen_part_of_the_validation_split_has_every_class(experiment: Make) -> None:
    """Though the source be sorted by class, as image folders are."""
    problem = prepare(experiment())
    order = problem.data.validation.labels.argsort()
    in_order = replace(problem.data, validation=problem.data.validation.subset(order))
    labels = replace(problem, data=in_order).validation(60).labels
    assert len(labels) == 60
    assert labels.unique().tolist() == list(range(10))


def test_the_images_that_validate_are_drawn_by_the_seed(problem: Problem) -> None:
    labels = problem.data.validation.labels
    for seed in (0, 1):
        order = torch.randperm(len(labels), generator=stream(seed, "validation images"))
        assert torch.equal(replace(problem, seed=seed).validation(60).labels, labels[order[:60]])


def test_batch_statistics_are_of_mixed_classes(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a network with BatchNorm is tested on: chunks of many classes, none of a single image."""
    chunks: list[Tensor] = []
    test = problem.data.test
    split = test.subset(test.labels.argsort()[:325])
    batch = Split.batch
    monkeypatch.setattr(Split, "batch", lambda s, i: chunks.append(s.labels[i]) or batch(s, i))
    monkeypatch.setattr(training, "CHUNK", 36)
    network = nn.Sequential(problem.network, nn.BatchNorm1d(10, track_running_stats=False))
    training.test(network, split, problem.objective)
    assert sum(map(len, chunks)) == 325  # nine chunks of 36 and one image more
    assert {len(labels) for labels in chunks} == {32, 33}
    assert all(len(labels.unique()) >= 6 for labels in chunks)


@pytest.fixture
def with_norms(experiment: Make) -> Problem:
    return prepare(experiment("architecture=convnet", "architecture.norm=batch", "architecture.width=4"))


def test_batch_norm_takes_nothing_from_the_test_images(with_norms: Problem) -> None:
    """An image is classified alike, whichever others are tested with it; not so by the batch's statistics."""
    steps, test = [real_step(with_norms, seed) for seed in (0, 1)], with_norms.data.test
    networks = with_norms.population("held-out", 1)
    ones = (test.labels == 1).nonzero().flatten()
    shares = {}
    for statistics in Statistics:
        whole, alone = (
            held_out(with_norms, split, networks, [steps], statistics).confusion
            for split in (test, test.subset(ones))
        )
        shares[statistics.value] = whole[1], alone[1]
    assert shares["training"][0] == shares["training"][1]
    assert shares["batch"][0] != shares["batch"][1]
    held_out(with_norms, test, networks, [steps])
    norms = [m for m in with_norms.network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.running_mean is None for norm in norms)  # for the next training


def test_the_statistics_are_those_of_torch(with_norms: Problem) -> None:
    """`update_bn` of torch.optim.swa_utils, at the trained weights, over the images of the steps."""
    steps = [real_step(with_norms, seed) for seed in (0, 1, 2)]
    network = load_weights(with_norms.network, with_norms.population("held-out", 1)[0])
    training.train(network, steps, with_norms.inner_optimizer)
    theirs = copy.deepcopy(network)
    for norm in theirs.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.__init__(norm.num_features)  # type: ignore[misc]
    load_weights(theirs, dict(network.named_parameters()))
    update_bn([step.images for step in steps], theirs)
    images, _ = with_norms.data.test.batch(slice(0, 20))
    with batch_norm.by_statistics_of(network, (step.images for step in steps)), torch.no_grad():
        torch.testing.assert_close(network(images), theirs.eval()(images))


def test_batch_norm_has_the_statistics_of_the_augmented_images(experiment: Make) -> None:
    """Of those that the network was trained on, by torch's `update_bn`."""
    norms = ("architecture=convnet", "architecture.norm=batch", "architecture.width=4")
    problem = prepare(experiment(*norms, "dataset.image_size=8", "augmentation=shift_rotate"))
    images, labels = problem.data.train.batch(slice(0, 40))
    steps = [Step(images, labels, torch.tensor(0.1))] * 2
    networks = problem.population("held-out", 1)
    found = held_out(problem, problem.data.test, networks, [steps]).runs["loss"].item()
    purpose = "augmentation of network 0"
    seen = [problem.augmentation.images(images, problem.seed, purpose, t) for t in range(2)]
    network = load_weights(copy.deepcopy(problem.network), networks[0])
    sgd = torch.optim.SGD(network.parameters(), lr=0.1)
    for batch in seen:
        sgd.zero_grad()
        nn.functional.cross_entropy(network(batch), labels).backward()
        sgd.step()
    trained = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for norm in [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]:
        norm.__init__(norm.num_features)  # type: ignore[misc]
    update_bn(seen, load_weights(network, trained))
    images, labels = problem.data.test.batch()
    expected = nn.functional.cross_entropy(network.eval()(images), labels).item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_splits_share_no_image(problem: Problem) -> None:
    data = problem.data
    rows = [
        {bytes(image.flatten().tolist()) for image in s.images}
        for s in (data.train, data.validation, data.test)
    ]
    assert len(rows[0]) + len(rows[1]) + len(rows[2]) == len(rows[0] | rows[1] | rows[2])
