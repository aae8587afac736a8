from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from dataset_distillation.datasets.data import Specification, Split, TensorSplit
from dataset_distillation.datasets.digits import Digits
from dataset_distillation.datasets.linear_regression import LinearRegression
from dataset_distillation.distilled.data import DistilledData, sequence
from dataset_distillation.distilled.options import Distilled
from dataset_distillation.distilled.start import choose, start
from dataset_distillation.randomness import stream


@pytest.fixture
def train() -> Split:
    """Eight grey 2×2 images of two classes; every pixel of image i is i."""
    specification = Specification("tiny", (1, 2, 2), ("even", "odd"), (0.0,), (1.0,))
    images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 1, 2, 2).contiguous()
    return TensorSplit(torch.arange(8) % 2, specification, images)


def test_the_steps_of_an_epoch_then_the_next_epoch() -> None:
    images, labels = torch.arange(3.0).view(3, 1), torch.arange(3).view(3, 1)
    rates = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    steps = list(sequence(images, labels, rates))
    assert [float(step.images) for step in steps] == [0, 1, 2, 0, 1, 2]  # pixels tied across epochs
    assert [float(step.learning_rate) for step in steps] == rates.flatten().tolist()  # rates not


@pytest.mark.parametrize("rate", [1e-4, 0.02, 1.7, 200.0])
def test_rates_start_where_asked_and_stay_positive(rate: float) -> None:
    data = DistilledData(torch.zeros(1, 1), torch.zeros(1, 1), torch.full((2, 1), rate))
    torch.testing.assert_close(data.learning_rates, torch.full((2, 1), rate), rtol=1e-4, atol=0)
    with torch.no_grad():
        data.raw_learning_rates -= 100
    assert (data.learning_rates >= 0).all()


def test_only_images_and_rates_are_optimised(train: Split) -> None:
    data = start(Distilled(), train, seed=0)
    assert {name for name, _ in data.named_parameters()} == {"images", "raw_learning_rates"}


def test_shapes_and_labels(train: Split) -> None:
    data = start(Distilled(images_per_class=2, steps=3, epochs=4), train, seed=0)
    assert data.images.shape == (3, 4, 1, 2, 2)
    assert data.learning_rates.shape == (4, 3)
    assert data.labels.tolist() == [[0, 0, 1, 1]] * 3


def test_learned_labels_start_as_the_fixed_ones_and_are_optimised(train: Split) -> None:
    fixed, learned = (
        start(Distilled(images_per_class=2, steps=3, labels=labels), train, seed=0)
        for labels in ("fixed", "learned")
    )
    assert {name for name, _ in learned.named_parameters()} == {"images", "raw_learning_rates", "labels"}
    assert learned.labels.shape == (3, 4, 2)
    assert torch.equal(learned.labels.argmax(-1), fixed.labels)
    assert learned.labels.unique().tolist() == [0, 1]
    assert torch.equal(learned.images, fixed.images)
    steps = list(learned.steps(*learned.parameters()))
    assert all(
        torch.equal(step.labels, labels) for step, labels in zip(steps[:3], learned.labels, strict=True)
    )


@pytest.mark.parametrize("beginning", ["noise", "real"])
def test_targets_that_are_numbers_start_as_the_images_do(beginning: str) -> None:
    rows = LinearRegression(image_size=2, rows=50).load(0).train
    options = Distilled(images_per_class=7, steps=2, start=beginning, labels="learned")
    data = start(options, rows, seed=0)
    assert data.images.shape == (2, 7, 1, 2, 2)
    assert data.labels.shape == (2, 7, 1)
    found = [
        (rows.images == image).all((1, 2, 3)) & (rows.labels == label).all(1)
        for image, label in zip(data.images.flatten(0, 1), data.labels.flatten(0, 1), strict=True)
    ]
    assert torch.stack(found).sum() == (14 if beginning == "real" else 0)  # with the target of its row


def test_real_start_takes_distinct_images_of_the_right_class(train: Split) -> None:
    data = start(Distilled(images_per_class=2, steps=2, start="real"), train, seed=0)
    values = (data.images[..., 0, 0, 0] * 255).round().long()
    assert (values % 2 == data.labels).all()
    assert len(values.unique()) == 8


def test_k_means_start_takes_the_centroids_of_each_class(train: Split) -> None:
    """Of 0, 2, 4, 6 and of 1, 3, 5, 7 there is one best pair of centroids each; one a step."""
    data = start(Distilled(images_per_class=1, steps=2, start="k_means"), train, seed=0)
    values = (data.images[..., 0, 0, 0] * 255).round().long()
    assert sorted(values[:, 0].tolist()) == [1, 5]
    assert sorted(values[:, 1].tolist()) == [2, 6]
    assert data.labels.tolist() == [[0, 1]] * 2


@pytest.mark.parametrize("seed", [0, 5])
def test_a_k_means_start_is_that_of_scikit_learn_and_of_the_seed(seed: int) -> None:
    digits = Digits(image_size=8).load(0).train
    data = start(Distilled(steps=2, start="k_means"), digits, seed)
    state = stream(seed, "distilled start").initial_seed() % 2**32
    points = digits.batch((digits.labels == 3).nonzero().flatten()).images.flatten(1)
    with threadpool_limits(1):  # as ours
        expected = KMeans(2, n_init=1, random_state=state).fit(points.numpy()).cluster_centers_
    assert torch.equal(data.images[:, 3].detach().flatten(1), torch.from_numpy(expected))


def test_the_start_depends_on_the_seed_alone(train: Split) -> None:
    first, again, other = (start(Distilled(), train, seed).images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_examples_are_used_again_only_when_a_class_runs_out() -> None:
    chosen = choose(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1, 1]), torch.Generator().manual_seed(0))
    assert sorted(chosen.tolist()) == [0, 1, 2, 2]
