"""Pictures of distilled images against pixels that were worked out another way."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_distillation.distilled import pictures
from dataset_distillation.distilled.artifact import DistilledSet
from support.report_folders import MADE_FOR


def test_visible_cuts_one_percent_on_either_side() -> None:
    pixels = torch.arange(1000.0) - 300
    shown = pictures.visible(pixels)
    low, high = np.sort(pixels.numpy())[[9, 989]]
    np.testing.assert_allclose(shown, np.clip((pixels.numpy() - low) / (high - low), 0, 1), atol=1e-6)
    assert (shown == 0).sum() == (shown == 1).sum() - 1 == 10


def test_visible_keeps_images_comparable_and_bears_a_blank() -> None:
    dark, bright = torch.zeros(50), torch.ones(50)
    assert pictures.visible(torch.stack([dark, bright])).mean(1).tolist() == [0, 1]
    assert pictures.visible(torch.full((3, 3), 0.7)).tolist() == torch.zeros(3, 3).tolist()


def test_visible_keeps_any_number_of_pixels() -> None:
    """More than torch.quantile takes, which is 2 ** 24."""
    assert pictures.visible(torch.zeros(2**24 + 1)).shape == (2**24 + 1,)


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


def test_a_step_picture_is_the_images_enlarged_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "COLUMNS", 2)
    red_and_blue = torch.zeros(1, 3, 2, 2)
    red_and_blue[0, 2] = 1
    red_and_blue[0, :, 0, 0] = torch.tensor([1.0, 0, 0])  # red at the top left, blue elsewhere
    picture = opened(pictures.png(pictures.mosaic(torch.cat([red_and_blue, 1 - red_and_blue, red_and_blue]))))
    side = 112 + 2 * 4
    assert picture.shape == (2 * side, 2 * side, 3)
    first, second, fourth = picture[:side, :side], picture[:side, side:], picture[side:, side:]
    assert (first[4:60, 4:60] == [255, 0, 0]).all()
    assert (first[4:116, 60:116] == [0, 0, 255]).all()
    assert (first[60:116, 4:116] == [0, 0, 255]).all()
    assert (second[4:60, 4:60] == [0, 255, 255]).all()
    assert (first[:4] == 255).all()
    assert (fourth == 255).all()  # there is no fourth image


def distilled(steps: int, channels: int = 1) -> DistilledSet:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(steps, 1)
    metadata: dict[str, Any] = {
        **MADE_FOR,
        "class_names": ["a", "$ß_", "c"],
        "mean": [0.5] * channels,
        "std": [0.25] * channels,
    }
    pictures = torch.randn(steps, 3, channels, 8, 8, generator=generator)
    return DistilledSet(pictures, labels, torch.rand(2, steps, generator=generator), {}, metadata)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_grid_grows_by_a_row_a_step(channels: int) -> None:
    one, four = (opened(pictures.grid(distilled(steps, channels))) for steps in (1, 4))
    assert 3 * 90 < four.shape[0] - one.shape[0] < 3 * 130  # about an inch a row at 110 dpi


@pytest.mark.parametrize("equal", [True, False])
def test_rates_that_are_equal_take_one_line(equal: bool) -> None:
    many = torch.full((20, 1), 0.005) if equal else torch.linspace(0, 1, 20)[:, None]
    one, twenty = (
        opened(pictures.grid(replace(distilled(1), learning_rates=rates))) for rates in (many[:1], many)
    )
    assert (twenty.shape == one.shape) == equal


def test_captions_of_classes_of_learned_labels_and_of_numbers() -> None:
    names = ["a", "b"]
    assert pictures.captions(torch.tensor([1, 0]), names) == ["b", "a"]
    assert pictures.captions(torch.tensor([[0.2, 0.75], [1.5, -1.0]]), names) == ["b 0.75", "a 1.50"]
    assert pictures.captions(torch.tensor([[0.12345], [-2.0]]), ["target"]) == ["0.123", "-2"]
