"""A set and images of one's own: what networks see of them is what they saw of the data set's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dataset_distillation.datasets.in_memory import InMemory
from dataset_distillation.distilled.artifact import DistilledSet

GENERATOR = torch.Generator().manual_seed(0)
METADATA = {
    "class_names": ["cat", "dog"], "mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3], "architecture": "lenet",
    "inner_optimizer": "sgd", "init": "random", "dataset": "photos", "config": {},
}  # fmt: skip


@pytest.fixture
def distilled() -> DistilledSet:
    images = torch.randn(10, 2, 3, 8, 8, generator=GENERATOR)
    rates = torch.linspace(0.01, 0.3, 30).view(3, 10)
    return DistilledSet(images, torch.tensor([[0, 1]] * 10), rates, {}, dict(METADATA))


def test_three_lines(distilled: DistilledSet) -> None:
    assert repr(distilled).splitlines() == [
        "DistilledSet of 20 images (3×8×8) of 2 classes, labels fixed",
        "  30 steps with 2 images each by sgd, rates 0.01 to 0.3",
        "  made of photos, for lenet from random start",
    ]


def test_images_are_normalized_as_those_of_the_data_set(distilled: DistilledSet) -> None:
    pixels = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=GENERATOR)
    data = InMemory(pixels, torch.arange(6) % 2, test=(pixels, torch.arange(6) % 2), validation=0.5).load(0)
    specification = data.specification
    distilled.metadata.update(mean=list(specification.mean), std=list(specification.std))
    expected = data.test.batch().images
    torch.testing.assert_close(distilled.normalize(pixels), expected)
    torch.testing.assert_close(distilled.normalize(pixels / 255), expected)


def test_floats_are_rounded_to_the_nearest_of_256_levels(distilled: DistilledSet) -> None:
    levels = torch.arange(192, dtype=torch.uint8).view(1, 3, 8, 8)
    for off in (0.4, -0.4):
        floats = ((levels + off) / 255).clamp(min=0)
        assert torch.equal(distilled.normalize(floats), distilled.normalize(levels))


@pytest.mark.parametrize("low", [-3.0, 0.0])
def test_floats_beyond_0_to_1_keep_their_scale(low: float, distilled: DistilledSet) -> None:
    """Such as digits from 0 to 16, or images that are normalized already."""
    pixels = low + (16 - low) * torch.rand(6, 3, 8, 8, generator=GENERATOR)
    data = InMemory(pixels, torch.arange(6) % 2, test=(pixels, torch.arange(6) % 2), validation=0.5).load(0)
    assert data.train.own_scale
    specification = data.specification
    distilled.metadata.update(mean=list(specification.mean), std=list(specification.std), own_scale=True)
    torch.testing.assert_close(distilled.normalize(pixels), data.test.batch().images)
    for other in (pixels[..., :7], pixels[:, :1], pixels / 0):
        with pytest.raises(ValueError, match=r"must be finite, \(3, 8, 8\), on the scale of the floats"):
            distilled.normalize(other)


def test_floats_from_0_to_1_and_bytes_are_pixels() -> None:
    floats, labels = torch.rand(6, 3, 8, 8, generator=GENERATOR), torch.arange(6) % 2
    for pixels in (floats, (floats * 255).byte()):
        assert not InMemory(pixels, labels, test=(pixels, labels), validation=0.5).load(0).train.own_scale


def test_arrays_and_channels_that_come_last_are_images_too(distilled: DistilledSet) -> None:
    pixels = torch.randint(0, 256, (6, 3, 9, 9), dtype=torch.uint8, generator=GENERATOR)
    expected = distilled.normalize(pixels)
    assert torch.equal(distilled.normalize(pixels.permute(0, 2, 3, 1).numpy()), expected)
    gray = pixels[:, :1]
    assert torch.equal(distilled.normalize(gray[:, 0].numpy()), distilled.normalize(gray))
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    assert 0 <= distilled.accuracy(network, pixels.numpy(), np.zeros(6, "int64")) <= 1
    with pytest.raises(ValueError, match="images are a str: must be a tensor or an array"):
        distilled.normalize("a folder")


def test_images_are_resized_and_given_their_channels(distilled: DistilledSet) -> None:
    gray = torch.full((2, 1, 30, 20), 102, dtype=torch.uint8)
    expected = (torch.full((2, 3, 8, 8), 0.4) - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor(
        [0.1, 0.2, 0.3]
    ).view(3, 1, 1)
    torch.testing.assert_close(distilled.normalize(gray), expected)
    distilled.metadata["config"] = {"dataset": {"border": 2}}
    assert (distilled.normalize(gray)[:, 0, :2] + 4).abs().max() < 1e-5  # (0 − 0.4) / 0.1


def test_the_accuracy_is_the_share_of_correct_classes(distilled: DistilledSet) -> None:
    """Of a network that sees red, with dropout that must be off."""
    network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3, 2, bias=False), nn.Dropout(0.9))
    network[2].weight.data = torch.tensor([[-1.0, 0, 0], [1.0, 0, 0]])
    red = torch.zeros(300, 3, 8, 8, dtype=torch.uint8)
    red[:200, 0] = 255
    assert distilled.accuracy(network, red, torch.ones(300, dtype=torch.long)) == pytest.approx(2 / 3)
    assert network.training


@pytest.mark.parametrize(("images", "message"), [
    (torch.zeros(8, 8), r"shape \(8, 8\) is not \(N, H, W\)"),
    (torch.zeros(0, 3, 8, 8), "there are none"),
    (torch.zeros(1, 3, 8, 8) - 1, "floats from -1 to -1: must lie in .*, and are normalized here"),
    (torch.full((1, 3, 8, 8), torch.nan), "must lie in"),
    (torch.zeros(1, 3, 8, 8, dtype=torch.long), "images are torch.int64: must be uint8, or floats"),
])  # fmt: skip
def test_other_images_are_refused(images: torch.Tensor, message: str, distilled: DistilledSet) -> None:
    with pytest.raises(ValueError, match=message):
        distilled.normalize(images)


def test_labels_must_fit(distilled: DistilledSet) -> None:
    with pytest.raises(ValueError, match="3 images, and labels of shape"):
        distilled.accuracy(nn.Linear(1, 1), torch.zeros(3, 3, 8, 8), torch.zeros(2))
