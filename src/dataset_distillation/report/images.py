"""The distilled images as a person sees them."""

from __future__ import annotations

import io
import math
from pathlib import Path

import matplotlib.axes
import matplotlib.figure
import numpy as np
from PIL import Image
from torch import Tensor

from dataset_distillation.artifact import DistilledSet
from dataset_distillation.files import write

ENLARGED = 112  # pixels of a tile's side in the picture of a step, at least
COLUMNS = 20  # images in a row of a picture, at most


def visible(pixels: Tensor) -> Tensor:
    """Pixels mapped to [0, 1] for the eye: 1 % of them may be darker and 1 % brighter than can be shown.

    Distilled pixels are not bound to the range of real ones; one scale for all keeps images comparable.
    """
    values = pixels.flatten()
    low, high = (values.kthvalue(max(1, round(q * len(values)))).values for q in (0.01, 0.99))
    return ((pixels - low) / (high - low).clamp(min=1e-8)).clamp(0, 1)


def tile(image: Tensor) -> np.ndarray:
    """(channels, height, width) in [0, 1] to (height, width, 3) uint8, enlarged without smoothing."""
    factor = math.ceil(ENLARGED / image.shape[-1])
    image = image.expand(3, -1, -1).repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def mosaic(images: Tensor) -> np.ndarray:
    """A step's images (n, channels, height, width) in [0, 1] side by side, at most COLUMNS in a row."""
    columns = min(len(images), COLUMNS)
    tiles = [np.pad(tile(image), ((4, 4), (4, 4), (0, 0)), constant_values=255) for image in images]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def step_picture(images: Tensor) -> bytes:
    """One PNG of a step's images."""
    buffer = io.BytesIO()
    Image.fromarray(mosaic(images)).save(buffer, format="PNG")
    return buffer.getvalue()


def grid(distilled: DistilledSet) -> bytes:
    """One PNG of the whole set: a row a step with its learning rates, the images with their classes."""
    rows = [mosaic(images) for images in visible(distilled.pixels)]  # one axis each: axes are what takes time
    columns, lines = min(distilled.images.shape[1], COLUMNS), -(-distilled.images.shape[1] // COLUMNS)
    height = max(0.95 * lines, 0.14 * (len(distilled.learning_rates) + 1))  # inches: room for a line an epoch
    size = (0.9 * columns + 1.8, height * len(rows) + 0.5)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    for step, axis in enumerate(figure.subplots(len(rows), 1, squeeze=False)[:, 0]):
        axis.imshow(rows[step])
        axis.set(xticks=[], yticks=[])
        if lines == 1:
            _name_classes(axis, distilled, step, rows[step].shape[1] / columns)
        rates = "\n".join(f"{rate:.4f}" for rate in distilled.learning_rates[:, step])
        axis.set_ylabel(f"step {step}\n{rates}", rotation=0, ha="right", va="center", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return buffer.getvalue()


def _name_classes(axis: matplotlib.axes.Axes, distilled: DistilledSet, step: int, width: float) -> None:
    names = [distilled.metadata["class_names"][label] for label in distilled.labels[step].tolist()]
    axis.set_xticks([width * (i + 0.5) for i in range(len(names))], names, fontsize=8, parse_math=False)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)


def write_images(distilled: DistilledSet, folder: Path) -> None:
    """`folder/step_00.png`, ... and `folder/grid.png`."""
    for step, images in enumerate(visible(distilled.pixels)):
        write(folder / f"step_{step:02}.png", step_picture(images))
    write(folder / "grid.png", grid(distilled))
