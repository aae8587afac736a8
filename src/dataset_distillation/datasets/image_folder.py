"""The user's own images: a folder with one folder of images per class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_distillation.datasets import MOST_PIXELS, Dataset
from dataset_distillation.datasets.conversion import blank, decoded
from dataset_distillation.datasets.data import Raw, Split
from dataset_distillation.datasets.splits import cut
from dataset_distillation.errors import UserError, count, refuse

if TYPE_CHECKING:
    from torch import Tensor


Labeled = tuple["Tensor", "Tensor"]
LAYOUT = "one folder of images per class, <path>/<class>/<image>"


@dataclass
class ImageFolder(Dataset):
    """`path`/train and `path`/test if both exist, else one tree `path`, of which the share `test` is cut.

    Each tree has the layout of torchvision.datasets.ImageFolder: `<class>/<image>`. The test split is
    stratified by class and the same in every run. Images are resized to a square, without a crop.
    """

    name: str = "images"
    channels: int = 3
    image_size: int = count(32, most=MOST_PIXELS)
    path: str = "???"
    test: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.test < 1:
            raise refuse("dataset.test", self.test, "must lie between 0 and 1")
        if not Path(self.path).expanduser().is_dir():
            raise refuse("dataset.path", self.path, "no such folder", f"expected {LAYOUT}")

    def known_names(self) -> list[str]:
        path = Path(self.path).expanduser()
        two_trees = (path / "train").is_dir() and (path / "test").is_dir()
        return _folders(path / "train" if two_trees else path)

    def read(self) -> Raw:
        path = Path(self.path).expanduser()
        if (path / "train").is_dir() and (path / "test").is_dir():
            train, names = self._tree(path / "train")
            test, test_names = self._tree(path / "test")
            if names != test_names:
                odd = ", ".join(sorted({*names} ^ {*test_names}))
                raise UserError(f"{path}: train and test need the same class folders; only one has {odd}")
            return Raw(train, test, names)
        (images, labels), names = self._tree(path)
        return cut(images, labels, self.test, names)

    def test_split(self) -> Split:
        path = Path(self.path).expanduser()
        folders = {entry.name for entry in path.iterdir() if entry.is_dir()}
        # A folder `test` beside others, but without `train`, is a class.
        if not self.mean or not ({"train", "test"} <= folders or folders == {"test"}):
            return super().test_split()
        (images, labels), names = self._tree(path / "test")
        return self.alone(images, labels, names)

    def _tree(self, path: Path) -> tuple[Labeled, list[str]]:
        """Return every image of one tree, decoded, with its label; and the class names."""
        import torch

        samples, names = _samples(path)
        images = blank(len(samples), self.channels, self.image_size)
        for index, (file, _) in enumerate(samples):
            images[index] = decoded(file, self.channels, self.image_size)
        return (images, torch.tensor([label for _, label in samples])), names


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir())


def _samples(path: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """Return (file, label) of every image under `path`, and the class names; each class has images."""
    classes = _folders(path)
    if len(classes) < 2:
        folders_here = f"only one class folder, {classes[0]!r}" if classes else "no class folder"
        raise UserError(f"dataset.path={path}: {folders_here}; expected {LAYOUT}, two or more classes")
    samples = list(_images(path, classes))
    if empty := sorted({*range(len(classes))} - {label for _, label in samples}):
        raise UserError(
            f"{path / classes[empty[0]]}: a class without images; add images or remove the folder"
        )
    return samples, classes


def _images(path: Path, classes: list[str]) -> Iterator[tuple[str, int]]:
    """Yield the images in the folders of the classes, in the order of torchvision's ImageFolder.

    Links are followed, but a folder counts once: a link back would give a class the images of others.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS

    seen = {_identity(folder): folder for folder in (path.resolve(), *path.resolve().parents)}
    for label, name in enumerate(classes):
        found = []
        for folder, _, files in os.walk(path / name, followlinks=True):
            if (first := seen.setdefault(_identity(Path(folder)), Path(folder))) != Path(folder):
                raise UserError(f"{folder}: the same folder as {first}; remove the link")
            found.append((folder, sorted(files)))
        for folder, files in sorted(found):
            yield from (
                (os.path.join(folder, file), label) for file in files if file.lower().endswith(IMG_EXTENSIONS)
            )


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
