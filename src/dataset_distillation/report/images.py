"""The distilled images as a person sees them."""

from __future__ import annotations

import io
import math
from pathlib import Path

import matplotlib
import matplotlib.figure
import numpy as np
from PIL import Image
from torch import Tensor

from dataset_distillation.artifact import DistilledSet
from dataset_distillation.files import write

ENLARGED = 112  # pixels of a tile's side in the picture of a step, at least


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


def step_picture(images: Tensor, columns: int) -> bytes:
    """One PNG of a step's images (n, channels, height, width) in [0, 1]."""
    tiles = [np.pad(tile(image), ((2, 2), (2, 2), (0, 0)), constant_values=128) for image in images]
    tiles += [np.full_like(tiles[0], 128)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return _png(Image.fromarray(np.concatenate(rows)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def grid(distilled: DistilledSet) -> bytes:
    """One PNG of the whole set: a row a step with its learning rates, a column an image with its class."""
    images, names = visible(distilled.pixels), distilled.metadata["class_names"]
    steps, columns = images.shape[:2]
    height = max(1.0, 0.14 * (len(distilled.learning_rates) + 1))  # inches: room for a line an epoch
    size = (0.9 * columns + 1.8, height * steps + 0.5)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    axes = figure.subplots(steps, columns, squeeze=False)
    for step in range(steps):
        for column in range(columns):
            axis = axes[step, column]
            axis.imshow(tile(images[step, column]))
            axis.set_xticks([])
            axis.set_yticks([])
            if step == 0:
                axis.set_title(names[int(distilled.labels[step, column])], fontsize=9)
        rates = "\n".join(f"{rate:.4f}" for rate in distilled.learning_rates[:, step])
        axes[step, 0].set_ylabel(f"step {step}\n{rates}", rotation=0, ha="right", va="center", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def write_images(distilled: DistilledSet, folder: Path) -> None:
    """`folder/step_00.png`, ... and `folder/grid.png`."""
    shown = visible(distilled.pixels)
    classes = len(distilled.metadata["class_names"])
    for step, images in enumerate(shown):
        columns = len(images) // classes if len(images) > classes else len(images)
        write(folder / f"step_{step:02}.png", step_picture(images, min(columns, 20)))
    write(folder / "grid.png", grid(distilled))
