"""In what order, and at which rates, held-out networks are trained on an artifact."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dataset_distillation.augmentation.shift_rotate import ShiftRotate
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.evaluation.options import Training
from dataset_distillation.evaluation.schedule import Schedule


@pytest.fixture
def three_steps() -> DistilledSet:
    images = torch.arange(6.0).view(3, 2, 1, 1, 1)
    rates = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    return DistilledSet(images, torch.arange(6).view(3, 2), rates, {}, {})


def order(schedule: Schedule, j: int) -> list[tuple[list[int], float]]:
    return [(step.labels.tolist(), round(step.learning_rate.item(), 3)) for step in schedule[j]]


def test_the_learned_schedule_is_the_artifact_s(three_steps: DistilledSet) -> None:
    assert order(Schedule(three_steps, Training(), 0, 1), 0) == [
        (step.labels.tolist(), round(step.learning_rate.item(), 3)) for step in three_steps.steps
    ]


def test_more_epochs_repeat_the_last_rates(three_steps: DistilledSet) -> None:
    rates = [rate for _, rate in order(Schedule(three_steps, Training(epochs=4), 0, 1), 0)]
    assert rates == [0.1, 0.2, 0.3] + [0.4, 0.5, 0.6] * 3


def test_where_the_last_epoch_is_not_whole_its_last_rate_goes_on() -> None:
    """Four learned rates over three stored steps."""
    images, labels = torch.zeros(3, 1, 1, 1, 1), torch.zeros(3, 1, dtype=torch.long)
    rates, metadata = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), {"batches": {"number": 4}}
    data = DistilledSet(images, labels, rates, {}, metadata)
    assert torch.equal(data.rates_by_epoch, torch.tensor([[0.1, 0.2, 0.3], [0.4] * 3]))
    found = [rate for _, rate in order(Schedule(data, Training(epochs=3), 0, 1), 0)]
    assert found == [0.1, 0.2, 0.3] + [0.4] * 6


def test_shuffled_steps_keep_their_rates(three_steps: DistilledSet) -> None:
    schedule = Schedule(three_steps, Training(order="shuffled"), 0, 9)
    learned = order(Schedule(three_steps, Training(), 0, 1), 0)
    orders = [order(schedule, j) for j in range(9)]
    for epoch in (slice(0, 3), slice(3, 6)):
        assert all(sorted(found[epoch]) == sorted(learned[epoch]) for found in orders)
    assert len({str(found) for found in orders}) > 5
    assert orders[4] == order(schedule, 4)


def test_ordinary_training_is_of_random_batches(three_steps: DistilledSet) -> None:
    """Random batches of 4 of the 6 images, at one rate."""
    schedule = Schedule(three_steps, Training(epochs=3, batch_size=4, learning_rate=0.7), 0, 2)
    found = order(schedule, 1)
    assert [len(labels) for labels, _ in found] == [4, 2] * 3
    assert {rate for _, rate in found} == {0.7}
    for first in (0, 2, 4):
        assert sorted(found[first][0] + found[first + 1][0]) == list(range(6))
    assert found[0] != found[2]
    assert order(schedule, 0) != found


def test_a_batch_of_a_single_image_joins_the_one_before(three_steps: DistilledSet) -> None:
    """A BatchNorm without pixels has no variance of it."""
    found = order(Schedule(three_steps, Training(epochs=3, batch_size=5, learning_rate=0.7), 0, 1), 0)
    assert [sorted(labels) for labels, _ in found] == [list(range(6))] * 3
    alone = Schedule(three_steps, Training(epochs=1, batch_size=1, learning_rate=0.7), 0, 1)
    assert [len(labels) for labels, _ in order(alone, 0)] == [1] * 6


@pytest.fixture
def batches() -> DistilledSet:
    """Seven steps, each of four images drawn from ten, at one rate."""
    images, labels = torch.arange(10.0).view(1, 10, 1, 1, 1), torch.arange(10).view(1, 10)
    metadata = {"batches": {"number": 7, "size": 4, "random": True}}
    return DistilledSet(images, labels, torch.tensor([[0.5]]), {}, metadata)


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({"running_statistics": True}, [0.5] * 7),
        ({"augmentation": ShiftRotate()}, [0.5] * 7),
        ({"decay": 0.1}, [0.5] * 4 + [0.05] * 3),
        ({"learning_rate": 0.2}, [0.2] * 7),
        ({"mean_rate": True, "decay": 0.5}, [0.5] * 4 + [0.25] * 3),
    ],
)
def test_other_training_keeps_the_inner_batches(
    batches: DistilledSet, options: dict[str, Any], rates: list[float]
) -> None:
    found = order(Schedule(batches, Training(**options), 3, 2), 1)
    assert [labels for labels, _ in found] == [step.labels.tolist() for step in batches.steps_of(1, 3)]
    assert [rate for _, rate in found] == rates


def test_the_mean_rate_is_that_of_the_learned_ones() -> None:
    """Not of the epochs, of which the last is not whole: four steps over three stored ones."""
    images, labels = torch.zeros(3, 1, 1, 1, 1), torch.zeros(3, 1, dtype=torch.long)
    rates, metadata = torch.tensor([[0.1, 0.1, 0.1, 0.5]]), {"batches": {"number": 4}}
    data = DistilledSet(images, labels, rates, {}, metadata)
    found = order(Schedule(data, Training(mean_rate=True), 0, 1), 0)
    assert [rate for _, rate in found] == [pytest.approx(0.2)] * 4


@pytest.mark.parametrize("options", [{"epochs": 3}, {"epochs": 3, "order": "shuffled"}])
def test_epochs_are_passes_over_the_images_as_they_are_stored(
    batches: DistilledSet, options: dict[str, Any]
) -> None:
    found = Schedule(batches, Training(**options), 0, 1)[0]
    assert [step.labels.tolist() for step in found] == [list(range(10))] * 3
