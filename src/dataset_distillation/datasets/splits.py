"""Checks of the images and labels of a source, and stratified splits of them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dataset_distillation.datasets.data import Data, Raw, TensorSplit
from dataset_distillation.errors import UserError, refuse

if TYPE_CHECKING:
    import torch


def stratified(
    labels: torch.Tensor, share: float, seed: int, key: str, class_names: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return indices (remaining, cut) in ascending order; `share` of every class is cut.

    They depend on `seed` (0 to 2³²−1) alone. Raises UserError if a class has fewer than 2 images, and
    ConfigError (naming `key`) if a part would have no image of some class.
    """
    import torch
    from sklearn.model_selection import train_test_split

    counts, total = torch.bincount(labels, minlength=len(class_names)), len(labels)
    if counts.min() < 2:
        few = class_names[int(counts.argmin())]
        raise UserError(f"class {few!r} has fewer than 2 images: a split by class needs 2 or more of each")
    cut = math.ceil(share * total)
    if min(cut, total - cut) < len(counts):
        allowed = f"cuts {cut} of {total} images: both parts need {len(counts)}, one per class"
        least = math.ceil(100 * len(counts) / total) / 100
        remedy = f"set it to {least} or more" if cut < len(counts) else f"set it to {1 - least:.2f} or less"
        raise refuse(key, share, allowed, remedy if least <= 0.5 else "add images")
    indices, classes = torch.arange(total).numpy(), labels.numpy()
    parts = train_test_split(indices, test_size=share, random_state=seed, stratify=classes)
    remaining, held_out = (torch.from_numpy(part).sort().values for part in parts)
    for part, remedy in ((held_out, "set it higher"), (remaining, "set it lower")):
        if (empty := without_images(labels[part], len(counts))) is not None:
            one = f"class {class_names[empty]!r}, which has {counts[empty]}"
            remedy += ", or add images of it"
            raise refuse(key, share, f"leaves a part without images of {one}", remedy)
    return remaining, held_out


def cut(images: torch.Tensor, labels: torch.Tensor, share: float, class_names: list[str]) -> Raw:
    """Return a train and a test set: the test set is `share` of every class, the same in every run.

    Raises UserError or ConfigError as `stratified` does.
    """

    remaining, held_out = stratified(labels, share, 0, "dataset.test", class_names)
    return Raw((images[remaining], labels[remaining]), (images[held_out], labels[held_out]), class_names)


def verify(name: str, raw: Raw) -> None:
    """Raise UserError unless images are uint8 and every label names a class that has images."""
    import torch

    for split, (images, labels) in raw.parts.items():
        if len(images) != len(labels):
            numbers = f"{len(images)} {split} images with {len(labels)} labels"
            raise UserError(f"dataset {name}: {numbers}: must be equal")
        if images.dtype != torch.uint8:
            raise UserError(f"dataset {name}: {split} images are {images.dtype}: must be uint8, 0 to 255")
    verify_labels(name, {split: labels for split, (_, labels) in raw.parts.items()}, raw.class_names)


def verify_labels(name: str, parts: dict[str, torch.Tensor], class_names: Sequence[str]) -> None:
    """Raise UserError unless every label names a class and every class has images in each part.

    parts: the labels of the images of each part, by the name of the part.
    """
    classes = len(class_names)
    for split, labels in parts.items():
        if not len(labels):
            raise UserError(f"dataset {name}: no {split} images")
        if labels.min() < 0 or labels.max() >= classes:
            raise UserError(
                f"dataset {name}: {split} labels run from {labels.min()} to {labels.max()}: must lie in "
                f"0..{classes - 1} for {classes} classes; renumber them from 0 or name every class"
            )
        if (empty := without_images(labels, classes)) is not None:
            few = f"class {class_names[empty]!r} has no {split} image"
            raise UserError(f"dataset {name}: {few}; drop the class or add images")
    if classes < 2:
        raise UserError(f"dataset {name}: only one class, {class_names[0]!r}: there is nothing to tell apart")


def without_images(labels: torch.Tensor, classes: int) -> int | None:
    """Return the first class that no label names, or None."""
    import torch

    counts = torch.bincount(labels, minlength=classes)
    return None if counts.min() > 0 else int(counts.argmin())


def check_names(key: str, names: Sequence[str]) -> None:
    """Raise ConfigError unless `names` name two or more classes, each by a name of its own."""
    if len(names) < 2:
        raise refuse(key, list(names), "must name two or more classes")
    if twice := [name for name, number in Counter(names).items() if number > 1]:
        raise refuse(key, twice[0], "names several classes: each needs a name of its own")


def numbered(name: str, *labels: torch.Tensor) -> list[str]:
    """Return the numbers 0, 1, ... as the names of the classes of `labels`.

    Raises UserError if there are more classes than labels, so that not every class can have an image.
    """
    highest = max((int(part.max()) for part in labels if len(part)), default=-1)
    if highest >= (images := sum(map(len, labels))):
        allowed = f"the highest label is {highest}, and there are {images} images: every class needs some"
        raise UserError(f"dataset {name}: {allowed}; number the classes from 0")
    return [str(label) for label in range(highest + 1)]


def identities(images: torch.Tensor) -> list[bytes]:
    """Return a short checksum of each image."""
    return [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images.numpy()]


def repeated(data: Data) -> int:
    """Return how many test images are train or validation images, too; images in files are not compared."""
    train, validation, test = (
        identities(split.images) if isinstance(split, TensorSplit) else [] for split in data.splits.values()
    )
    others = {*train, *validation}
    return sum(image in others for image in test)


def checksum(raw: Raw) -> str:
    """SHA-256 over the shapes and bytes of the images and labels of all splits."""
    digest = hashlib.sha256()
    for tensor in (tensor for part in raw.parts.values() for tensor in part):
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
