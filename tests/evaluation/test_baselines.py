"""What distilled data are compared with, each against another library, a closed form or a case by hand."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
import torchmetrics
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from dataset_distillation.architectures import Weights
from dataset_distillation.datasets.data import Split
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.evaluation import baselines, comparison, real_sets, selection
from dataset_distillation.evaluation.baselines import BaselineContext
from dataset_distillation.evaluation.held_out import confusion, held_out
from dataset_distillation.evaluation.options import BASELINES, MATCHING, Evaluation, Training
from dataset_distillation.evaluation.real_sets import RealSet, Size
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.objectives import Metric
from dataset_distillation.objectives.attack import Attack
from dataset_distillation.objectives.standard import Standard
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.problem import Problem
from dataset_distillation.randomness import stream

Make = Callable[..., Experiment]


#: That of the distilled data in this file.
SIZE = Size(images_per_class=2, steps=2)


@pytest.fixture(scope="module")
def problem(experiment: Make) -> Problem:
    return prepare(experiment())


@pytest.fixture(scope="module")
def asking(experiment: Make) -> Callable[..., Evaluation]:
    """What is asked of the evaluation."""
    return lambda *options: experiment(*(f"evaluation.{option}" for option in options)).evaluation


@pytest.fixture(scope="module")
def networks(problem: Problem) -> list[Weights]:
    return problem.population("held-out", 3)


def random_real(problem: Problem, number: int) -> list[RealSet]:
    return real_sets.random_real(problem.data.train, SIZE, problem.seed, number)


def pixels_of(problem: Problem, label: int) -> Tensor:
    train = problem.data.train
    return train.batch((train.labels == label).nonzero().flatten()).images.flatten(1)


def test_every_name_has_its_function() -> None:
    assert set(baselines.BASELINES) == {*BASELINES, *MATCHING, "closed_form"}


def test_k_means_is_that_of_scikit_learn(problem: Problem) -> None:
    """Two steps of two images a class: four centroids of each class, each once, in the step of its turn."""
    [real] = real_sets.k_means(problem.data.train, SIZE, problem.seed, 1)
    assert real.images.shape == (2, 20, 1, 28, 28)
    assert real.labels.tolist() == [[label for label in range(10) for _ in range(2)]] * 2
    seed = stream(0, "k-means", 0).initial_seed() % 2**32
    for label in (0, 7):
        with threadpool_limits(1):  # as ours
            expected = KMeans(4, n_init=1, random_state=seed).fit(pixels_of(problem, label).numpy())
        ours = real.images[real.labels == label].flatten(1)
        np.testing.assert_array_equal(ours.numpy(), expected.cluster_centers_)


def test_average_real_is_the_mean_in_every_step(problem: Problem) -> None:
    real = real_sets.average_real(problem.data.train, SIZE)
    for label in (3, 8):
        for image in real.images[real.labels == label]:
            torch.testing.assert_close(image.flatten(), pixels_of(problem, label).mean(0))


def test_random_real_is_of_the_train_split_each_image_once(problem: Problem) -> None:
    first, second = random_real(problem, 2)
    assert not torch.equal(first.images, second.images)
    assert torch.equal(first.images, random_real(problem, 1)[0].images)
    for label in (0, 9):
        train = {image.numpy().tobytes() for image in pixels_of(problem, label)}
        chosen = [image.numpy().tobytes() for image in first.images[first.labels == label].flatten(1)]
        assert len(set(chosen)) == 4
        assert set(chosen) <= train


def test_herding_by_hand() -> None:
    """On 0, 1, 2, 9 the mean is 3. Nearest: 2. Then (2 + x) / 2 is nearest for 1 or 9 (1.5, 5.5): 1; ..."""
    points = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
    assert real_sets.herd(points, 3) == [2, 1, 3]
    assert sorted(real_sets.herd(points, 9)) == [0, 1, 2, 3]


def test_k_center_by_hand() -> None:
    """From 2, nearest to the mean 3: the farthest is 9, then 0; of equal points each is taken once."""
    assert real_sets.spread(torch.tensor([[0.0], [1.0], [2.0], [9.0]]), 3) == [2, 3, 0]
    assert sorted(real_sets.spread(torch.ones(3, 2), 5)) == [0, 1, 2]


def test_fewer_images_than_asked_for_are_repeated(problem: Problem) -> None:
    few = problem.data.train.subset(
        torch.cat([(problem.data.train.labels == c).nonzero()[:3, 0] for c in range(10)])
    )
    [k_means] = real_sets.k_means(few, SIZE, 0, 1)
    for real in (k_means, real_sets.herding(few, SIZE), real_sets.k_center(few, SIZE)):
        images = real.images[real.labels == 0]
        assert len(images.flatten(1).unique(dim=0)) == 3
        assert torch.equal(images[0], images[3])


@pytest.mark.parametrize(("distance", "p"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("k", [1, 3])
def test_nearest_neighbours_are_those_of_scikit_learn(
    problem: Problem, distance: str, p: int, k: int
) -> None:
    real = random_real(problem, 2)
    test = problem.data.test
    runs = selection.neighbor_trial(problem, real)(test, [], {"distance": [distance], "k": [k]})
    points, truth = test.batch().images.flatten(1), test.labels.numpy()
    for found, (images, labels) in zip(runs["accuracy"], real, strict=True):
        reference = KNeighborsClassifier(k, p=p).fit(images.reshape(40, -1), labels.flatten())
        with threadpool_limits(1):  # as ours
            expected = reference.predict(points)
        ours = selection.nearest(RealSet(images, labels), distance, k, test)
        np.testing.assert_array_equal(ours.numpy(), expected)
        assert found == np.float32((expected == truth).mean())


def test_confusion_and_accuracy_are_those_of_torchmetrics() -> None:
    """Exactly."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(10007, 4, generator=generator)
    labels = torch.randint(3, (10007,), generator=generator)
    counts = torchmetrics.functional.confusion_matrix(outputs, labels, "multiclass", num_classes=4).double()
    found = confusion(outputs, labels)
    assert torch.equal(found[:3], counts[:3] / counts[:3].sum(1, keepdim=True))
    assert found[3].tolist() == [0, 0, 0, 0]  # a class without images
    accuracy = torchmetrics.functional.accuracy(outputs, labels, "multiclass", num_classes=4, average="micro")
    assert training.measure(outputs, labels, Standard())["accuracy"] == accuracy.item()


def test_the_mean_confusion_matrix_of_all_networks(problem: Problem, networks: list[Weights]) -> None:
    runs, matrix = held_out(problem, problem.data.test, networks)
    shares = torch.bincount(problem.data.test.labels) / len(problem.data.test)
    assert (torch.tensor(matrix).diagonal() * shares).sum().item() == pytest.approx(runs["accuracy"].mean())
    assert list(map(sum, matrix)) == pytest.approx([1] * 10)


def test_a_search_finds_what_each_setting_gives_alone(problem: Problem, networks: list[Weights]) -> None:
    """The long training that passes through the short ones is the same as each by itself."""
    real, test = random_real(problem, 2), problem.data.test
    grid = {"learning_rate": [0.03, 0.1], "epochs": [1, 3]}
    runs = selection.gradient_trial(problem, Evaluation(), real)(test, networks, grid)
    assert len(runs) == 2 * 2 * 3
    steps = [Step(*batch, torch.tensor(0.1)) for batch in zip(*real[1], strict=True)] * 3
    network = load_weights(problem.network, networks[1])
    training.train(network, steps, problem.inner_optimizer)
    alone = training.test(network, test, problem.objective)
    [run] = runs.query("learning_rate == 0.1 and epochs == 3 and set == 1 and network == 1").to_dict(
        "records"
    )
    assert {name: run[name] for name in alone} == alone


class Made:
    """A trial whose outcome is known: the validation split prefers one setting, the test split another."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.asked: list[tuple[str, int, int]] = []

    def __call__(self, split: Split, networks: Sequence[Weights], grid: selection.Grid) -> pandas.DataFrame:
        name = "test" if split is self.problem.data.test else "validation"
        prefer = {"test": 0.3, "validation": 0.1}[name]
        points = [(rate, epochs) for rate in grid["learning_rate"] for epochs in grid["epochs"]]
        self.asked.append((name, len(points), len(networks)))
        rows = [
            {
                "learning_rate": rate,
                "epochs": epochs,
                "set": 0,
                "network": j,
                "accuracy": epochs / 10 - abs(rate - prefer),
            }
            for rate, epochs in points
            for j in range(len(networks))
        ]
        return pandas.DataFrame(rows)


@pytest.mark.parametrize(
    ("protocol", "rate", "asked"),
    [
        ("validation", 0.1, [("validation", 4, 1), ("test", 1, 3)]),
        ("paper", 0.3, [("test", 4, 3)]),
    ],
)
def test_the_two_protocols(
    problem: Problem,
    networks: list[Weights],
    protocol: str,
    rate: float,
    asked: list[tuple[str, int, int]],
    asking: Callable[..., Evaluation],
) -> None:
    evaluation, trial = asking(f"selection={protocol}"), Made(problem)
    grid = {"learning_rate": [0.1, 0.3], "epochs": [1, 3]}
    runs = selection.select(problem, evaluation, networks, trial, grid)
    assert trial.asked == asked
    assert runs[["learning_rate", "epochs"]].to_numpy().tolist() == [[rate, 3]] * 3
    assert runs["network"].tolist() == [0, 1, 2]


def test_the_grid_is_the_papers_or_goes_on_to_ten_times_our_steps(problem: Problem) -> None:
    rates = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
    learned = torch.tensor([[0.25, 0.75], [0.5, 0.5]])

    def grid(learned: Tensor | None = None, **options: Any) -> tuple[list[float | None], list[int]]:
        size = SIZE._replace(epochs=2)
        found = BaselineContext(problem, Evaluation(**options), [], size, learned).grid
        return list(found["learning_rate"]), list(found["epochs"])

    assert grid() == (rates, [1, 2, 3, 4, 5, 6, 10, 14, 20])
    assert grid(learned) == ([None, 0.5, *rates], [1, 2, 3, 4, 5, 6, 10, 14, 20])
    assert grid(learned, baseline_length=2) == ([None, 0.5, *rates], [1, 2, 3, 4])
    assert grid(learned, selection="paper") == ([None, 0.5, *rates], [1, 3, 5])
    for selected in ("validation", "paper"):  # as before there was a length
        assert grid(learned, selection=selected, baseline_length=None) == ([0.5, *rates], [1, 2, 3, 5])
    assert grid(learned[:, :1])[0] == [0.375, *rates]  # of other steps than the sets have
    one = BaselineContext(problem, Evaluation(), [], SIZE._replace(steps=1), torch.tensor([[0.25]]))
    assert one.grid["learning_rate"] == [None, *rates]  # their mean would be the same training again
    attack = replace(problem, objective=Attack())
    assert BaselineContext(attack, Evaluation(), [], SIZE).grid["epochs"] == [1]


def test_a_baseline_trains_at_the_learned_rates_step_by_step(
    problem: Problem, networks: list[Weights]
) -> None:
    """And at the last of them in later passes; the table has neither a rate, nor loses the row."""
    [real], learned = random_real(problem, 1), torch.tensor([[0.2, 0.05], [0.02, 0.01]])
    trial = selection.gradient_trial(problem, Evaluation(), [real], learned)
    grid = {"learning_rate": [None, 1e-6], "epochs": [1, 3]}
    runs = trial(problem.data.test, networks[:1], grid)
    rates = [*learned.flatten(), *learned[-1]]
    steps = [Step(*batch, rate) for batch, rate in zip(list(zip(*real, strict=True)) * 3, rates, strict=True)]
    [row] = held_out(problem, problem.data.test, networks[:1], [steps]).runs.to_dict("records")
    [found] = runs[runs["learning_rate"].isna() & (runs["epochs"] == 3)].to_dict("records")
    assert {name: found[name] for name in row} == row
    assert row["steps"] == 6
    chosen = selection.settings(selection.best(runs, grid, problem.objective), grid)
    assert chosen["learning_rate"] == [None]


def test_a_baseline_goes_on_until_validation_is_best(
    problem: Problem, networks: list[Weights], asking: Callable[..., Evaluation]
) -> None:
    """Which takes longer than 5 epochs, where the paper's grid ends; the table says the steps."""
    evaluation = asking("baselines=[average_real]", "validation_images=144")
    step = Step(*problem.data.train.batch(torch.arange(20)), torch.tensor(0.01))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(baselines, "LEARNING_RATES", (0.02,))
        runs = comparison.compare(problem, evaluation, networks, [[step] * 4], SIZE, None).runs
    rows = {row.method: row for row in comparison.rows_of(runs, Metric("accuracy"))}
    trial = selection.gradient_trial(problem, evaluation, [real_sets.average_real(problem.data.train, SIZE)])
    judges, lengths = problem.population("validation", 1), [1, 2, 3, 4, 5, 6, 10, 14, 20]
    validated = trial(problem.data.validation, judges, {"learning_rate": [0.02], "epochs": lengths})
    best = lengths[int(validated["accuracy"].argmax())]
    assert best > 5
    assert (rows["average_real"].epochs, rows["average_real"].steps) == (best, 2 * best)
    assert rows["distilled"].steps == 4
    assert rows["before_training"].steps == 0


def test_optimized_real_is_the_best_of_the_random_sets(
    problem: Problem,
    networks: list[Weights],
    monkeypatch: pytest.MonkeyPatch,
    asking: Callable[..., Evaluation],
) -> None:
    numbers = ("SETS", "CANDIDATE_SETS", "JUDGING_NETWORKS", "JUDGING_IMAGES")
    assert [getattr(baselines, name) for name in numbers] == [10, 50, 20, 1024]  # the paper's
    for name, smaller in zip(numbers, (2, 4, 2, 200), strict=True):
        monkeypatch.setattr(baselines, name, smaller)
    monkeypatch.setattr(baselines, "LEARNING_RATES", (0.1,))
    chosen = BaselineContext(problem, asking(), networks, SIZE).optimized_real()
    others = BaselineContext(problem, asking(), networks[::-1][:1], SIZE).optimized_real()
    assert all(torch.equal(a.images, b.images) for a, b in zip(chosen, others, strict=True))
    order = torch.randperm(len(problem.data.train), generator=stream(0, "optimized real"))
    judging = problem.data.train.subset(order[:200])
    trial = [selection.gradient_trial(problem, Evaluation(), [real]) for real in random_real(problem, 4)]
    chosen_at = selection.validated(
        problem, asking(), selection.gradient_trial(problem, asking(), random_real(problem, 2)),
        BaselineContext(problem, asking(), networks, SIZE).grid,
    )  # fmt: skip
    judges = problem.population("init", 2)  # no networks of the test
    means = [t(judging, judges, chosen_at)["accuracy"].mean() for t in trial]
    best = sorted(range(4), key=lambda j: -means[j])[:2]
    candidates = random_real(problem, 4)
    assert all(torch.equal(a.images, candidates[j].images) for a, j in zip(chosen, best, strict=True))
    as_learned = BaselineContext(problem, asking(), networks, SIZE, torch.full((1, 2), 0.1))
    assert as_learned.grid["learning_rate"] == [None, pytest.approx(0.1), 0.1]  # all three are the same
    again = as_learned.optimized_real()
    assert all(torch.equal(a.images, b.images) for a, b in zip(again, chosen, strict=True))


def test_optimized_real_is_chosen_by_ordinary_training_where_that_is_asked_for(
    problem: Problem, networks: list[Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each candidate as `held_out` trains networks on it; nothing is validated."""
    for name, smaller in (("SETS", 2), ("CANDIDATE_SETS", 5), ("JUDGING_NETWORKS", 3)):
        monkeypatch.setattr(baselines, name, smaller)
    monkeypatch.setattr(baselines, "validated", None)
    how = Training(epochs=2, learning_rate=0.1, batch_size=7)
    chosen = BaselineContext(problem, Evaluation(), networks, SIZE, None, how).optimized_real()
    order = torch.randperm(len(problem.data.train), generator=stream(0, "optimized real"))
    judging, judges = problem.data.train.subset(order[:1024]), problem.population("init", 3)
    candidates, means = random_real(problem, 5), []
    for images, labels in candidates:
        alone = DistilledSet(images, labels, torch.full((1, 2), 0.1), {}, {})
        steps = Schedule(alone, how, problem.seed, 3)
        means.append(held_out(problem, judging, judges, steps, how=how).runs["accuracy"].mean())
    best = sorted(range(5), key=lambda j: -means[j])[:2]
    assert all(torch.equal(a.images, candidates[j].images) for a, j in zip(chosen, best, strict=True))


@pytest.mark.parametrize(
    ("selection", "how"),
    [
        ("validation", Training()),
        pytest.param("paper", Training(), marks=pytest.mark.slow),
        ("validation", Training(epochs=1, learning_rate=0.1, batch_size=20)),
    ],
)
def test_every_baseline_stands_beside_data_with_learned_rates(
    selection: str,
    how: Training,
    problem: Problem,
    networks: list[Weights],
    monkeypatch: pytest.MonkeyPatch,
    asking: Callable[..., Evaluation],
) -> None:
    smaller = {"SETS": 2, "CANDIDATE_SETS": 3, "JUDGING_NETWORKS": 1, "JUDGING_IMAGES": 100}
    for name, number in {**smaller, "FULL_TRAINING_EPOCHS": 1}.items():
        monkeypatch.setattr(baselines, name, number)
    monkeypatch.setattr(baselines, "LEARNING_RATES", ())
    step = Step(*problem.data.train.batch(torch.arange(20)), torch.tensor(0.01))
    asked, rates = asking("baselines=all", f"selection={selection}"), torch.full((1, 2), 0.01)
    runs = comparison.compare(problem, asked, networks, [[step] * 2], SIZE, rates, how=how).runs
    assert set(runs["method"]) == {"before_training", "distilled", *asked.baselines}


def test_full_training_trains(
    problem: Problem,
    networks: list[Weights],
    monkeypatch: pytest.MonkeyPatch,
    asking: Callable[..., Evaluation],
) -> None:
    monkeypatch.setattr(baselines, "FULL_TRAINING_EPOCHS", 2)
    before = held_out(problem, problem.data.test, networks).runs
    after = baselines.full_training(BaselineContext(problem, asking(), networks, SIZE))
    assert len(after) == 3
    assert (after["accuracy"] > before["accuracy"] + 0.3).all()


def with_norms(experiment: Make) -> Problem:
    """With BatchNorm, small."""
    norms = ("architecture=convnet", "architecture.norm=batch", "architecture.width=4")
    return prepare(experiment(*norms, "dataset.image_size=8"))


def test_full_training_is_adam_written_out(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an attack, whose labels are changed; BatchNorm has the statistics of the last ten batches."""
    assert (baselines.FULL_TRAINING_EPOCHS, baselines.FULL_TRAINING_NETWORKS) == (10, 3)
    monkeypatch.setattr(baselines, "FULL_TRAINING_EPOCHS", 4)
    problem = with_norms(experiment)
    few = problem.data.train.subset(torch.arange(300))
    problem = replace(problem, data=replace(problem.data, train=few), objective=Attack())
    networks = problem.population("held-out", 2)
    found = baselines.full_training(BaselineContext(problem, Evaluation(), networks, SIZE))
    for j, weights in enumerate(networks):
        network = load_weights(copy.deepcopy(problem.network), weights)
        adam = torch.optim.Adam(network.parameters(), lr=0.001)
        orders = [torch.randperm(300, generator=stream(0, f"full {j}", epoch)) for epoch in range(4)]
        batches = [few.batch(indices) for order in orders for indices in order.split(128)]  # 12
        for t, (images, labels) in enumerate(batches):
            adam.param_groups[0]["lr"] = 0.001 * (1 + math.cos(math.pi * t / 12)) / 2
            adam.zero_grad()
            nn.functional.cross_entropy(network(images), labels.masked_fill(labels == 0, 1)).backward()
            adam.step()
        trained = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        for norm in [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]:
            norm.__init__(norm.num_features)  # type: ignore[misc]
        update_bn([images for images, _ in batches[-10:]], load_weights(network, trained))
        images, labels = problem.data.test.batch()
        expected = nn.functional.cross_entropy(network.eval()(images), labels.masked_fill(labels == 0, 1))
        assert found["loss"][j] == pytest.approx(expected.item(), rel=1e-4)
        assert found["steps"][j] == 12


def test_baselines_of_an_attack_are_trained_on_its_labels(experiment: Make) -> None:
    """Those of K are T in each of the three ways to learn from real images."""
    problem = replace(prepare(experiment("architecture=mlp", "dataset.image_size=8")), objective=Attack())
    networks, [real] = problem.population("held-out", 1), random_real(problem, 1)
    changed = real.labels.masked_fill(real.labels == 0, 1)
    steps = [Step(*batch, torch.tensor(0.1)) for batch in zip(real.images, changed, strict=True)]
    expected = held_out(problem, problem.data.test, networks, [steps]).runs["loss"].item()
    grid = {"learning_rate": [0.1], "epochs": [1]}
    tried = selection.gradient_trial(problem, Evaluation(), [real])(problem.data.test, networks, grid)
    assert tried["loss"].item() == pytest.approx(expected)
    how = Training(epochs=1, learning_rate=0.1)
    alike = BaselineContext(problem, Evaluation(), networks, SIZE, how=how).by_gradient([real])
    assert alike["loss"].item() == pytest.approx(expected)
    nearest = KNeighborsClassifier(1).fit(real.images.reshape(40, -1), changed.flatten())
    images, labels = problem.data.test.batch()
    truth = labels.masked_fill(labels == 0, 1).numpy()
    votes = selection.neighbor_trial(problem, [real])(problem.data.test, [], {"distance": ["l2"], "k": [1]})
    assert votes["accuracy"].item() == pytest.approx((nearest.predict(images.flatten(1)) == truth).mean())


def test_a_search_with_batch_norm_is_held_out(experiment: Make) -> None:
    """By the statistics of all images of a pass, not of some."""
    problem = with_norms(experiment)
    networks, [real] = problem.population("held-out", 1), random_real(problem, 1)
    grid = {"learning_rate": [0.1], "epochs": [1, 2]}
    tried = selection.gradient_trial(problem, Evaluation(), [real])(problem.data.test, networks, grid)
    for run in tried.itertuples():
        steps = [Step(*batch, torch.tensor(0.1)) for batch in zip(*real, strict=True)] * run.epochs
        alone = held_out(problem, problem.data.test, networks, [steps]).runs
        assert run.loss == pytest.approx(alone["loss"].item(), rel=1e-4)


def test_of_equal_settings_the_first_is_best_and_one_without_a_score_never() -> None:
    grid = {"learning_rate": [0.3, 0.2, 0.1], "epochs": [1]}
    runs = pandas.DataFrame({**grid, "epochs": 1, "set": 0, "network": 0, "accuracy": [math.nan, 0.5, 0.5]})
    chosen = selection.settings(selection.best(runs, grid, Standard()), grid)
    assert chosen == {"learning_rate": [0.2], "epochs": [1]}


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_method_of_which_a_run_diverged_has_no_value(value: float) -> None:
    """Neither the mean of the other runs, nor a difference; the other metric and the other row are whole."""
    runs = pandas.DataFrame({"accuracy": [0.5, 0.7, 0.2, 0.4], "network": [0, 1, 0, 1]})
    runs = runs.assign(method=["distilled"] * 2 + ["random_real"] * 2, set=0, excess_loss=[1.0, value, 2, 4])
    runs = runs.reindex(columns=[*runs, *comparison.SETTINGS, "seconds"])
    ours, theirs = comparison.rows_of(runs, Metric("excess_loss", higher_is_better=False, percent=False))
    json.dumps([ours.model_dump(), theirs.model_dump()], allow_nan=False)
    assert [ours.mean, ours.std, ours.min, ours.max] == [None] * 4
    assert (ours.metrics["accuracy"].mean, theirs.mean) == (pytest.approx(0.6), 3)
    assert [theirs.difference, theirs.low, theirs.high] == [None] * 3


def test_rows_can_be_read_while_a_baseline_runs(
    problem: Problem,
    networks: list[Weights],
    asking: Callable[..., Evaluation],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def killed(context: BaselineContext) -> pandas.DataFrame:
        seen.extend(pandas.read_csv(tmp_path / "evaluation.csv")["method"].unique())
        raise KeyboardInterrupt

    monkeypatch.setitem(baselines.BASELINES, "random_real", killed)
    evaluation, rates = asking("baselines=[random_real]"), torch.tensor([[0.1]])
    step = Step(*problem.data.train.batch(torch.arange(200)), torch.tensor(0.1))
    with pytest.raises(KeyboardInterrupt):
        comparison.compare(problem, evaluation, networks, [[step]], SIZE, rates, tmp_path)
    assert seen == ["before_training", "distilled"]


def test_the_table_of_a_comparison(
    problem: Problem, networks: list[Weights], asking: Callable[..., Evaluation], tmp_path: Path
) -> None:
    """Every record is what its rows in evaluation.csv say; every row is of the same networks."""
    evaluation = asking("baselines=[average_real,nearest_neighbour_random_real]")
    step = Step(*problem.data.train.batch(torch.arange(200)), torch.tensor(0.1))
    rates = torch.tensor([[0.1]])
    compared = comparison.compare(problem, evaluation, networks, [[step]], SIZE, rates, tmp_path)
    written = pandas.read_csv(tmp_path / "evaluation.csv")
    records = [row.model_dump() for row in comparison.rows_of(compared.runs, Metric("accuracy"))]
    assert [record["method"] for record in records] == list(dict.fromkeys(written["method"])) == [
        "before_training", "distilled", "average_real", "nearest_neighbour_random_real",
    ]  # fmt: skip
    assert list(written)[:5] == ["method", "set", "network", "accuracy", "loss"]
    assert written.groupby("method")["steps"].first().to_dict() == {
        "before_training": 0, "distilled": 1, "average_real": 2 * records[2]["epochs"],
        "nearest_neighbour_random_real": pytest.approx(math.nan, nan_ok=True),
    }  # fmt: skip
    for record in records:
        rows = written[written["method"] == record["method"]]
        for name in ("accuracy", "loss"):
            found = record["metrics"][name]
            expected = [rows[name].mean(), rows[name].std(ddof=1), rows[name].min(), rows[name].max()]
            assert [np.nan if v is None else v for v in found.values()] == pytest.approx(
                expected, nan_ok=True
            )
        assert record["mean"] == record["metrics"]["accuracy"]["mean"]
        assert (record["runs"], record["sets"]) == (len(rows), rows["set"].nunique())
    assert [record["networks"] for record in records] == [3, 3, 3, 0]
    assert records[1]["difference"] is None
    assert records[0]["low"] < records[0]["difference"] < records[0]["high"]
    assert records[2]["learning_rate"] in (pytest.approx(0.1), *baselines.LEARNING_RATES)
    assert records[2]["epochs"] in (1, 2, 3, 5, 7, 10)
    assert records[3]["distance"] in ("l1", "l2")
    json.dumps(records, allow_nan=False)
    matrices = json.loads((tmp_path / "confusion.json").read_text())
    assert list(matrices) == ["before_training", "distilled"]
    before = held_out(problem, problem.data.test, networks)
    assert matrices == compared.confusion
    assert matrices["before_training"] == before.confusion
    assert written["accuracy"][:3].tolist() == pytest.approx(before.runs["accuracy"].tolist(), abs=0)
    assert not math.isnan(records[1]["mean"])


def test_every_row_is_of_the_same_networks(
    problem: Problem,
    networks: list[Weights],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asking: Callable[..., Evaluation],
) -> None:
    """At a learning rate of 0 they all are the untrained networks, in their order."""
    monkeypatch.setattr(baselines, "LEARNING_RATES", (0.0,))
    evaluation = asking("baselines=[average_real,herding,k_center]")
    step = Step(*problem.data.train.batch(torch.arange(20)), torch.tensor(0.0))
    table = comparison.compare(problem, evaluation, networks, [[step]], SIZE, None, tmp_path).runs
    rows = table.pivot(index="network", columns="method", values="loss")
    assert rows.shape == (3, 5)
    assert rows.nunique(axis=1).tolist() == [1, 1, 1]
    assert rows["distilled"].nunique() == 3


def test_a_resumed_comparison_keeps_the_methods_that_are_there(
    problem: Problem,
    networks: list[Weights],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asking: Callable[..., Evaluation],
) -> None:
    """Their confusion matrices, too; without those, all methods are run again."""
    monkeypatch.setattr(baselines, "LEARNING_RATES", (0.03,))
    evaluation = asking("baselines=[nearest_neighbour_random_real,average_real]")
    step = Step(*problem.data.train.batch(torch.arange(20)), torch.tensor(0.1))

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    def compare(folder: Path, resumed: bool = False) -> comparison.Comparison:
        return comparison.compare(problem, evaluation, networks, [[step]], SIZE, None, folder, resumed)

    with monkeypatch.context() as patched:
        patched.setitem(baselines.BASELINES, "average_real", killed)
        with pytest.raises(KeyboardInterrupt):
            compare(tmp_path)
    whole = compare(tmp_path / "whole")
    monkeypatch.setitem(baselines.BASELINES, "nearest_neighbour_random_real", killed)
    monkeypatch.setattr(comparison, "held_out", killed)
    resumed = compare(tmp_path, resumed=True)
    pandas.testing.assert_frame_equal(
        resumed.runs.drop(columns="seconds"), whole.runs.drop(columns="seconds")
    )
    assert resumed.confusion == whole.confusion == json.loads((tmp_path / "confusion.json").read_text())
    assert len(resumed.confusion) == 2
    with pytest.raises(KeyboardInterrupt):  # not resumed: all of it again
        compare(tmp_path)
    (tmp_path / "confusion.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path, resumed=True)


def test_what_is_finished_survives_a_second_interruption(
    problem: Problem,
    networks: list[Weights],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asking: Callable[..., Evaluation],
) -> None:
    """Also behind a method that is new, which is asked for when the run goes on; what is not is dropped."""
    real = "nearest_neighbour_random_real"

    def compare(*names: str, resumed: bool = True) -> list[str]:
        evaluation = asking(f"baselines=[{','.join(names)}]")
        done = comparison.compare(problem, evaluation, networks, [], SIZE, None, tmp_path, resumed).runs
        return list(done["method"].unique())

    def killed(_: BaselineContext) -> pandas.DataFrame:
        raise KeyboardInterrupt

    compare(real, resumed=False)
    with monkeypatch.context() as patched:
        patched.setitem(baselines.BASELINES, "k_center", killed)
        with pytest.raises(KeyboardInterrupt):
            compare("k_center", real)
    monkeypatch.setitem(baselines.BASELINES, real, killed)
    assert compare(real) == ["before_training", real]
    assert compare() == ["before_training"]
    written = pandas.read_csv(tmp_path / "evaluation.csv")
    assert list(written["method"].unique()) == ["before_training"]


def test_a_part_of_a_pass_counts_as_one(
    problem: Problem,
    networks: list[Weights],
    monkeypatch: pytest.MonkeyPatch,
    asking: Callable[..., Evaluation],
) -> None:
    """Three steps over sets of two are two passes, as four are."""
    passes: list[int] = []

    def note(context: BaselineContext) -> pandas.DataFrame:
        passes.append(context.size.epochs)
        return held_out(problem, problem.data.test, networks[:1]).runs

    monkeypatch.setitem(baselines.BASELINES, "random_real", note)
    step = Step(*problem.data.train.batch(torch.arange(20)), torch.tensor(0.01))
    for steps in (3, 4):
        asked = asking("baselines=[random_real]")
        comparison.compare(problem, asked, networks[:1], [[step] * steps], SIZE, None)
    assert passes == [2, 2]


def test_all_baselines_can_be_joined_by_those_that_are_no_part_of_all(
    asking: Callable[..., Evaluation],
) -> None:
    everything = asking("baselines=all").baselines
    assert "k_means" in everything
    assert asking("baselines=[distribution_matching,all]").baselines == ["distribution_matching", *everything]
    assert asking("baselines=[all,k_means]").baselines == everything


def test_the_passes_of_a_set_are_those_of_its_inner_steps(experiment: Make) -> None:
    for options, passes in {"distilled.epochs=3": 3, "distilled.inner_steps=11": 6}.items():
        asked = experiment("distilled.steps=2", options).distilled
        assert real_sets.Size.of(asked)[:3] == (asked.images_per_class, 2, passes)
