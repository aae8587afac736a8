"""Photographs as people have them: each is made from a plain one, which says how it must be read."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from dataset_distillation.datasets.photographs import UPRIGHT, prepared


@pytest.fixture
def upright() -> Image.Image:
    """Taller than wide, and no two of its corners alike."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 7, 3), dtype=np.uint8))


def reopened(image: Image.Image, form: str, **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, form, **options)
    return Image.open(file)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright(orientation: int, upright: Image.Image) -> None:
    """Whichever way the camera was held; that Pillow's own function agrees shows that the tag was read."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)  # what undoes what turns it upright
    held = upright.transpose(Image.Transpose[UPRIGHT[back]]) if orientation > 1 else upright
    taken = reopened(held, "PNG", exif=exif)
    assert np.array_equal(np.asarray(prepared(taken, "white")), np.asarray(upright))
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(taken)), np.asarray(upright))


def test_damaged_exif_does_not_cost_the_image(upright: Image.Image) -> None:
    taken = reopened(upright, "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(np.asarray(prepared(taken, "white")), np.asarray(upright))


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("gray", 128), ("black", 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_shows_the_background(mode: str, background: str, value: int) -> None:
    """Alpha a shows a · color + (1 − a) · background; a palette and a color key are all or nothing."""
    alpha = 51 if mode.endswith("A") else 0  # a fifth
    color = Image.new("RGBA", (4, 4), (200, 200, 200, alpha))
    color.paste((200, 200, 200, 255), (0, 0, 2, 4))
    key = {}
    if mode == "P":
        color, key = Image.new("P", (4, 4), 1), {"transparency": 0}
        color.putpalette([7, 7, 7, 200, 200, 200])
        color.paste(0, (2, 0, 4, 4))
    elif mode in ("RGB", "L"):
        color = Image.new(mode, (4, 4), "#c8c8c8")
        color.paste("#070707", (2, 0, 4, 4))
        key = {"transparency": (7, 7, 7) if mode == "RGB" else 7}
    else:
        color = color.convert(mode)
    pixels = np.asarray(prepared(reopened(color, "PNG", **key), background).convert("RGB"))
    shown = round(alpha / 255 * 200 + (1 - alpha / 255) * value)
    assert np.all(pixels[:, :2] == 200)
    assert np.abs(pixels[:, 2:].astype(int) - shown).max() <= 1


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled(form: str) -> None:
    deep = np.array([[0, 128, 257, 32768, 65535]], dtype=np.uint16)
    pixels = np.asarray(prepared(reopened(Image.fromarray(deep), form), "white").convert("RGB"))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_floats_are_scaled_and_other_scales_are_not_guessed() -> None:
    floats = reopened(Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32)), "TIFF")
    assert np.asarray(prepared(floats, "white"))[0].tolist() == [0, 128, 255]
    for odd in (np.array([[0, 70_000]], dtype=np.int32), np.array([[-1, 1], [np.nan, 0]], dtype=np.float32)):
        with pytest.raises(ValueError, match="not from 0 to"):
            prepared(reopened(Image.fromarray(odd), "TIFF"), "white")
