"""explain=true: one factor at a time, each against the same by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pandas
import pytest
import torch
from torch.nn import functional

from dataset_distillation.augmentation.shift_rotate import ShiftRotate
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.evaluation.comparison import compare
from dataset_distillation.evaluation.explain import variants
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.evaluation.options import Evaluation, Training
from dataset_distillation.evaluation.presets import PRESETS
from dataset_distillation.evaluation.real_sets import Size
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.problem import Problem
from support.command_line import distill, distill_evaluate
from support.experiments import TINY

SHORT = Training(epochs=3, mean_rate=True)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets of few epochs."""
    for name, preset in PRESETS.items():
        monkeypatch.setitem(PRESETS, name, replace(preset, epochs=2))


@pytest.fixture
def problem(experiment: Callable[..., Experiment]) -> Problem:
    return prepare(experiment("architecture=mlp", "architecture.width=9"))


def made(problem: Problem) -> DistilledSet:
    """Twenty real images, with labels that are no probabilities."""
    images, labels = problem.data.train.batch(slice(0, 20))
    soft = 3 * functional.one_hot(labels, 10).float() + torch.rand(
        20, 10, generator=torch.Generator().manual_seed(0)
    )
    return DistilledSet(images[None], soft[None], torch.tensor([[0.05]]), {}, {})


def whitened_as_by_kornia(problem: Problem, pixels: torch.Tensor) -> torch.Tensor:
    """ZCA of pixels in [0, 1] by a singular value decomposition, with 0.1 added to the variances."""
    train = (problem.data.train.pixels(slice(None)).double() / 255).flatten(1)
    centered = train - train.mean(dim=0)
    _, values, vectors = torch.linalg.svd(centered / len(train) ** 0.5, full_matrices=False)
    spread = vectors.T @ torch.diag((values**2 + 0.1) ** -0.5) @ vectors
    rest = 0.1**-0.5 * (torch.eye(len(spread)) - vectors.T @ vectors)  # where no image has any variance
    return ((pixels.double().flatten(1) - train.mean(dim=0)) @ (spread + rest)).float().view_as(pixels)


def test_each_row_is_the_set_with_one_factor_changed(problem: Problem) -> None:
    distilled, networks = made(problem), problem.population("held-out", 2)
    sets = Schedule(distilled, SHORT, problem.seed, 2)
    size, explained = Size(2, 1), variants(problem, distilled, SHORT, 2)
    runs = compare(
        problem, Evaluation(baselines=[]), networks, sets, size, None, how=SHORT, variants=explained
    ).runs
    loss = {method: own["loss"].tolist() for method, own in runs.groupby("method", sort=False)}
    assert list(loss) == [
        "before_training", "distilled", "distilled_normalized_not_at_all",
        "distilled_tested_whitened_by_mtt", "distilled_tested_whitened_by_rat_bptt",
        "distilled_with_labels_as_classes", "distilled_with_labels_as_logits", "distilled_with_weights_own",
        *(f"distilled_with_training_{name}" for name in PRESETS),
    ]  # fmt: skip
    assert len({tuple(values) for values in loss.values()}) == len(loss)

    network = load_weights(problem.network, networks[1])
    training.train(network, sets[1], problem.inner_optimizer)
    images, labels = problem.data.test.batch()
    specification = problem.data.test.specification
    pixels = (
        images * torch.tensor(specification.std)[:, None, None]
        + torch.tensor(specification.mean)[:, None, None]
    )
    tested = {
        "normalized_not_at_all": pixels,
        "tested_whitened_by_mtt": whitened_as_by_kornia(problem, pixels),
    }
    for method, shown in {
        "distilled": images,
        **{f"distilled_{name}": own for name, own in tested.items()},
    }.items():
        assert loss[method][1] == pytest.approx(
            functional.cross_entropy(network(shown), labels).item(), rel=1e-4
        )

    hard = replace(distilled, labels=distilled.labels.argmax(dim=-1))
    alone = held_out(problem, problem.data.test, networks, Schedule(hard, SHORT, problem.seed, 2)).runs[
        "loss"
    ]
    assert loss["distilled_with_labels_as_classes"] == pytest.approx(alone.tolist())
    own = replace(problem, architecture=replace(problem.architecture, weights="own"))
    begun = own.population("held-out", 2)
    assert (
        loss["distilled_with_weights_own"]
        == held_out(own, problem.data.test, begun, sets, how=SHORT).runs["loss"].tolist()
    )
    dsa = PRESETS["dsa"]
    alone = held_out(
        problem, problem.data.test, networks, Schedule(distilled, dsa, problem.seed, 2), how=dsa
    ).runs["loss"]
    assert loss["distilled_with_training_dsa"] == pytest.approx(alone.tolist())


def test_what_is_as_asked_is_not_repeated(problem: Problem) -> None:
    distilled = replace(made(problem), labels=torch.zeros(1, 20, dtype=torch.long))
    names = [variant.name for variant in variants(problem, distilled, PRESETS["dc"], 1)]
    assert names == [
        "distilled_normalized_not_at_all",
        *(f"distilled_tested_whitened_by_{whose}" for whose in ("mtt", "rat_bptt")),
        "distilled_with_weights_own",
        *(f"distilled_with_training_{name}" for name in ("ours", "dsa", "mtt")),
    ]


def test_the_augmentation_of_the_distillation_is_a_factor_where_the_training_has_another(
    experiment: Callable[..., Experiment],
) -> None:
    parts = ["architecture=mlp", "architecture.width=9", "augmentation=shift_rotate"]
    problem = prepare(experiment(*parts))
    distilled, networks, dc = made(problem), problem.population("held-out", 2), PRESETS["dc"]
    [variant] = [v for v in variants(problem, distilled, dc, 2) if "augmentation" in v.name]
    assert variant.name == "distilled_with_augmentation_as_distilled"
    own, as_dc = (
        held_out(problem, variant.test, networks, variant.sets, how=how).runs["loss"].tolist()
        for how in (variant.how, dc)
    )
    by_hand = replace(problem, augmentation=ShiftRotate())
    expected = held_out(by_hand, variant.test, networks, variant.sets, how=replace(dc, augmentation=None))
    assert own == expected.runs["loss"].tolist() != as_dc
    assert not [v for v in variants(problem, distilled, SHORT, 1) if "augmentation" in v.name]


@pytest.mark.parametrize("init", ["fixed", "pretrained"])
def test_networks_that_are_known_or_trained_have_no_other_initial_weights(
    init: str, experiment: Callable[..., Experiment]
) -> None:
    problem = prepare(experiment("architecture=mlp", "architecture.width=9", f"init={init}"))
    assert not [v.name for v in variants(problem, made(problem), SHORT, 1) if "weights" in v.name]


def test_rows_of_numbers_are_not_trained_on_augmented_images(experiment: Callable[..., Experiment]) -> None:
    """The presets with an augmentation are left out; those without one are tried."""
    linear = ("architecture=linear", "architecture.bias=false", "objective=regression")
    of_rows = prepare(experiment("dataset=linear_regression", *linear, "distilled.labels=learned"))
    images, targets = of_rows.data.train.batch(slice(0, 4))
    rows = DistilledSet(images[None], targets[None], torch.tensor([[0.05]]), {}, {})
    names = [variant.name for variant in variants(of_rows, rows, Training(), 1)]
    assert "distilled_with_training_dc" in names
    assert not {"distilled_with_training_dsa", "distilled_with_training_mtt"} & set(names)


def test_other_projects_constants_are_those_that_differ(problem: Problem) -> None:
    here = replace(
        problem.data.test.specification, name="CIFAR10", shape=(3, 28, 28),
        mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616),
    )  # fmt: skip
    data = replace(problem.data, test=replace(problem.data.test, specification=here))
    found = variants(replace(problem, data=data), made(problem), Training(), 1)
    assert [variant.name for variant in islice(found, 2)] == [
        "distilled_normalized_by_dc",
        "distilled_normalized_not_at_all",
    ]


def test_a_whitened_set_is_tested_on_images_that_are_not(experiment: Callable[..., Experiment]) -> None:
    whitened = prepare(experiment("architecture=mlp", "architecture.width=9", "dataset.whitening=zca"))
    explained = variants(whitened, made(whitened), SHORT, 1)
    tested = {variant.name: variant.test for variant in explained if "tested" in variant.name}
    assert list(tested) == ["distilled_tested_not_whitened", "distilled_tested_whitened_by_rat_bptt"]
    plain = prepare(experiment("architecture=mlp", "architecture.width=9")).data.test.batch()
    assert tested["distilled_tested_not_whitened"].batch().images.equal(plain.images)


def test_large_images_and_test_splits_alone_are_not_whitened(problem: Problem) -> None:
    large = replace(problem.data.test.specification, shape=(3, 33, 33))
    no_train = replace(problem.data, train=problem.data.train.subset(torch.empty(0, dtype=torch.long)))
    for data in (replace(problem.data, test=replace(problem.data.test, specification=large)), no_train):
        names = [v.name for v in variants(replace(problem, data=data), made(problem), SHORT, 1)]
        assert not [name for name in names if "whitened" in name]


@pytest.mark.slow
def test_the_command_line_shows_it(tmp_path: Path) -> None:
    options = [*TINY, "architecture=mlp", "architecture.width=9", "hydra.run.dir=run"]
    assert distill(*options, folder=tmp_path).code == 0
    asked = ["artifact=run/distilled.safetensors", "explain=true", "logger=none", "trainer.threads=1"]
    ended = distill_evaluate(*asked, "hydra.run.dir=judged", folder=tmp_path, pages=True)
    assert ended.code == 0, ended.err
    assert "training: dsa" in ended.out
    judged = pandas.read_csv(tmp_path / "judged" / "evaluation.csv")
    assert set(judged["method"]) >= {"distilled_with_training_mtt", "distilled_tested_whitened_by_mtt"}
    assert "<td>training: dsa</td>" in (tmp_path / "judged" / "report.html").read_text()
    refused = distill_evaluate("dataset=digits", "baselines=all", "explain=true", folder=tmp_path)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "explain=True: there is no set to explain" in refused.err
