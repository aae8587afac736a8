"""Checks of the images and labels of a source, and stratified splits of them."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

from dataset_distillation.datasets.data import Raw
from dataset_distillation.errors import UserError, refuse

if TYPE_CHECKING:
    import torch


def stratified(
    labels: torch.Tensor, share: float, seed: int, key: str, class_names: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return indices (remaining, cut) in ascending order; `share` of every class is cut.

    They depend on `seed` (0 to 2³²−1) alone. Raises UserError if a class has fewer than 2 images, and
    ConfigError (naming `key`) if a part would be smaller than the number of classes.
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
        raise refuse(key, share, allowed, f"set it to {least} or more" if least <= 0.5 else "add images")
    indices, classes = torch.arange(total).numpy(), labels.numpy()
    parts = train_test_split(indices, test_size=share, random_state=seed, stratify=classes)
    remaining, held_out = (torch.from_numpy(part).sort().values for part in parts)
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

    for split, (images, labels) in (("train", raw.train), ("test", raw.test)):
        if len(images) != len(labels):
            numbers = f"{len(images)} {split} images with {len(labels)} labels"
            raise UserError(f"dataset {name}: {numbers}: must be equal")
        if images.dtype != torch.uint8:
            raise UserError(f"dataset {name}: {split} images are {images.dtype}: must be uint8, 0 to 255")
    verify_labels(name, raw.train[1], raw.test[1], raw.class_names)


def verify_labels(name: str, train: torch.Tensor, test: torch.Tensor, class_names: list[str]) -> None:
    """Raise UserError unless every label names a class and every class has a train image."""
    import torch

    classes = len(class_names)
    for split, labels in (("train", train), ("test", test)):
        if not len(labels):
            raise UserError(f"dataset {name}: no {split} images")
        if labels.min() < 0 or labels.max() >= classes:
            raise UserError(
                f"dataset {name}: {split} labels run from {labels.min()} to {labels.max()}: must lie in "
                f"0..{classes - 1} for {classes} classes; renumber them from 0 or name every class"
            )
    counts = torch.bincount(train, minlength=classes)
    if counts.min() == 0:
        empty = class_names[int(counts.argmin())]
        raise UserError(f"dataset {name}: class {empty!r} has no train image; drop the class or add images")


def identities(images: torch.Tensor) -> list[bytes]:
    """Return a short checksum of each image."""
    return [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images.numpy()]


def checksum(raw: Raw) -> str:
    """SHA-256 over the shapes and bytes of the images and labels of both splits."""
    digest = hashlib.sha256()
    for tensor in (*raw.train, *raw.test):
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
