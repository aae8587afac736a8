"""Pictures of the distilled images."""

from __future__ import annotations

import io
import logging
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib.figure
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from dataset_distillation.datasets.data import Split
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.start import choose
from dataset_distillation.errors import UserError, printable, short
from dataset_distillation.files import write
from dataset_distillation.randomness import stream
from dataset_distillation.run.folder import GRID, REAL

log = logging.getLogger(__name__)

MOST = 5000  # images in a picture or a page; the others are left out
ENLARGED = 112  # least width of a tile in pixels, in the picture of a step
MOST_RATES = 20  # learning rates beside the images of a step
COLUMNS = 20  # largest number of images in a row of a picture
EXAMPLES = 2  # real images per class, for comparison


@contextmanager
def or_a_line(what: object) -> Iterator[None]:
    """A picture that cannot be drawn costs a line in the log, and not the run or the report it belongs to."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        log.warning("%s is not drawn (%s: %s)", what, type(error).__name__, short(error))


def visible(pixels: Tensor) -> Tensor:
    """Map pixels to [0, 1] for display; the darkest 1 % and the brightest 1 % are clipped.

    Distilled pixels are not bound to the range of real ones; one scale for all keeps images comparable.
    """
    values = pixels.flatten()
    low, high = (values.kthvalue(max(1, round(q * len(values)))).values for q in (0.01, 0.99))
    return ((pixels - low) / (high - low).clamp(min=1e-8)).clamp(0, 1)


def tile(image: Tensor) -> np.ndarray:
    """Map (channels, height, width) in [0, 1] to (height, width, 3) uint8, enlarged without smoothing."""
    factor = math.ceil(ENLARGED / image.shape[-1])
    image = image.expand(3, -1, -1).repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def mosaic(images: Tensor) -> np.ndarray:
    """A step's images (n, channels, height, width) in [0, 1] side by side, at most COLUMNS per row."""
    columns = min(len(images), COLUMNS)
    tiles = [np.pad(tile(image), ((4, 4), (4, 4), (0, 0)), constant_values=255) for image in images]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def png(pixels: np.ndarray) -> bytes:
    """The PNG of pixels (height, width) or (height, width, 3), uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def grid(distilled: DistilledSet) -> bytes:
    """One PNG of the whole set: one row per step with its learning rates; the images with their classes."""
    n = min(MOST, distilled.images.shape[1])
    shown = visible(distilled.pixels)[: MOST // n, :n]
    rows = [mosaic(images) for images in shown]  # one axis per step: axes are slow
    columns, lines = min(n, COLUMNS), -(-n // COLUMNS)
    rates = distilled.rates_by_epoch[:MOST_RATES]
    if (rates == rates[0]).all():
        rates = rates[:1]
    height = max(0.95 * lines, 0.14 * (len(rates) + 1))  # inches; 0.14 per line of rates
    size = (0.9 * columns + 1.8, height * len(rows) + 0.5)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    for step, axis in enumerate(figure.subplots(len(rows), 1, squeeze=False)[:, 0]):
        axis.imshow(rows[step], interpolation="nearest")  # sharp pixels, and a file of half the size
        axis.set(xticks=[], yticks=[])
        if lines == 1:
            _name_classes(axis, distilled, step, rows[step].shape[1] / columns)
        column = "\n".join(f"{rate:.4f}" for rate in rates[:, step])
        axis.set_ylabel(f"step {step}\n{column}", rotation=0, ha="right", va="center", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return buffer.getvalue()


def captions(labels: Tensor, class_names: Sequence[str]) -> list[str]:
    """The labels of a step's images as text: classes (n,), or learned class weights or numbers (n, k)."""
    if not labels.is_floating_point():
        return [printable(class_names[label]) for label in labels.tolist()]
    if labels.shape[1] == 1:
        return [f"{number:.3g}" for number in labels.flatten().tolist()]
    weights, classes = labels.detach().max(dim=1)
    names = captions(classes, class_names)
    return [f"{name} {weight:.2f}" for name, weight in zip(names, weights.tolist(), strict=True)]


def panel(pixels: Tensor, labels: Tensor, class_names: Sequence[str]) -> tuple[list[Tensor], list[str]]:
    """All images of all steps, (channels, height, width) in [0, 1], and their names, for a logger."""
    names = [f"step {step}: {name}" for step, own in enumerate(labels) for name in captions(own, class_names)]
    return list(visible(pixels).flatten(0, 1)), names


def labeled(images: Sequence[Tensor], names: Sequence[str]) -> np.ndarray:
    """The first COLUMNS² images (channels, height, width) in [0, 1], each below its name: (h, w, 3) uint8."""
    columns = min(len(images), COLUMNS)
    tiles = [np.pad(tile(image), ((18, 4), (4, 4), (0, 0)), constant_values=255) for image in images]
    tiles = tiles[: COLUMNS**2] + [np.full_like(tiles[0], 255)] * (-min(len(tiles), COLUMNS**2) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    picture = Image.fromarray(np.concatenate(rows))
    height, width = tiles[0].shape[:2]
    for number, name in enumerate(names[: COLUMNS**2]):
        row, column = divmod(number, columns)
        ImageDraw.Draw(picture).text((column * width + 4, row * height + 3), name[:18], fill="black")
    return np.asarray(picture)


def _name_classes(axis: matplotlib.axes.Axes, distilled: DistilledSet, step: int, width: float) -> None:
    names = captions(distilled.labels[step], distilled.metadata["class_names"])
    names = [textwrap.fill(name, 15) for name in names]  # 15 characters are as wide as a tile
    axis.set_xticks([width * (i + 0.5) for i in range(len(names))], names, fontsize=8, parse_math=False)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)


def write_real(split: Split, seed: int, folder: Path) -> None:
    """Write `folder/real.png`: one column per class, one row per example, up to ENLARGED pixels per image.

    The images are random, but the same for each run on the same data with the same seed. Nothing is written
    if labels are numbers, or if a class has no image.
    """
    specification = split.specification
    if split.labels.is_floating_point() or len(split.labels.unique()) < specification.classes:
        return
    rows = 1 if specification.classes > 20 else EXAMPLES
    classes = torch.arange(specification.classes).repeat(rows)
    images = split.batch(choose(split.labels, classes, stream(seed, "real examples"))).images
    images = specification.pixels(images).clamp(0, 1)
    if images.shape[-1] > ENLARGED:
        images = functional.interpolate(images, (ENLARGED, ENLARGED), mode="bilinear", antialias=True)
    images = images.expand(-1, 3, -1, -1).unflatten(0, (rows, -1))
    images = images.permute(0, 3, 1, 4, 2)  # row, y, class, x, color
    write(folder / REAL, png((images.flatten(2, 3).flatten(0, 1) * 255).round().byte().numpy()))


def write_images(distilled: DistilledSet, folder: Path) -> None:
    """Write `folder/step_00.png`, ... and `folder/grid.png`."""
    for step, images in enumerate(visible(distilled.pixels)):
        path = folder / f"step_{step:02}.png"
        with or_a_line(path):
            write(path, png(mosaic(images[:MOST])))
    with or_a_line(folder / GRID):
        write(folder / GRID, grid(distilled))
