"""An artifact as pictures, one folder per class: for looking at, since 8 bits lose what is outside [0, 1]."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.pictures import png
from dataset_distillation.files import write

JSON = "how_to_use.json"
USE = (
    "PNG files of 8 bits, pixel × 255, in folders of their classes: for looking at",
    "pixels outside [0, 1] are clipped and learned labels are lost, so that they train worse than the set",
    "step_<step>_image_<i>.png: stored together with those of the same step",
)


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Return the names of the classes as those of folders, with their number if they are none."""
    safe = [re.sub(r"[^\w .()+-]", "_", name).strip(" .")[:100] for name in class_names]
    if len({name.lower() for name in safe}) == len(safe) and all(safe):
        return safe
    return [f"{label:05} {name}".strip() for label, name in enumerate(safe)]


def to_images(distilled: DistilledSet, path: Path) -> tuple[list[Path], float]:
    """Write `<class>/step_<step>_image_<i>.png`; return the files, and the share of pixels that were clipped.

    A set with learned labels has each image in the folder of its largest weight.
    """
    names, pixels = folder_names(distilled.metadata["class_names"]), distilled.pixels.float()
    outside = ((pixels < 0) | (pixels > 1)).float().mean().item()
    labels = distilled.labels.argmax(dim=-1) if distilled.labels.ndim == 3 else distilled.labels
    files = []
    bits = (pixels.clamp(0, 1) * 255).round().byte()
    for step, (images, own) in enumerate(zip(bits, labels.tolist(), strict=True)):
        for i, (image, label) in enumerate(zip(images, own, strict=True)):
            files.append(path / names[label] / f"step_{step:05}_image_{i:05}.png")
            shown = image[0] if len(image) == 1 else image.permute(1, 2, 0)
            write(files[-1], png(shown.numpy()))
    return files, outside
