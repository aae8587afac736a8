"""The user's own images: a folder with one folder of images per class."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dataset_distillation.datasets.conversion import LARGEST
from dataset_distillation.datasets.data import Raw, Split
from dataset_distillation.datasets.folders import (
    ENDINGS,
    LAYOUT,
    NAMES,
    classes,
    files,
    folders,
    hidden,
    trees,
)
from dataset_distillation.datasets.photographs import Photo, Photographs, Photos, counted, listed
from dataset_distillation.errors import UserError, refuse
from dataset_distillation.files import opened

log = logging.getLogger(__name__)


@dataclass
class ImageFolder(Photographs):
    """`path`/train, `path`/val and `path`/test, as far as they exist, else one tree `path`.

    Each tree has the layout of torchvision.datasets.ImageFolder: `<class>/<image>`. Without a folder for
    testing, the one for validation is used for testing; without both the share `test` of every class is cut,
    the same in every run. Without both folders, or with one of them, `validation` is cut from the train set.
    """

    layout = f"expected {LAYOUT}"

    def known_names(self) -> list[str]:
        parts = trees(self.folder)
        return folders(parts["train" if "train" in parts else "test"])

    def read(self) -> Raw:
        parts = trees(self.folder)
        if "train" not in parts:
            there = " and ".join(tree.name for tree in parts.values())
            remedy = (
                "add train/<class>/<image>; to judge a set by testing images alone, set dataset.mean and std"
            )
            raise refuse("dataset.path", self.folder, f"has a folder {there} and none for training", remedy)
        _tell(self.folder, parts)
        names = classes(parts["train"])
        for tree in parts.values():
            if odd := sorted({*names} ^ {*classes(tree)}):
                both = f"{parts['train'].name} and {tree.name}"
                text = f"{both} need the same class folders; only one has {', '.join(odd)}"
                raise UserError(f"{self.folder}: {text}")
        return self.raw({part: self._photos(tree) for part, tree in parts.items()}, names)

    def test_split(self) -> tuple[Split, int, str]:
        tree = trees(self.folder).get("test")
        if self.measured or not tree:
            return super().test_split()
        test = self.developed({"test": self._photos(tree)})["test"]
        return self.alone(*test.labeled, classes(tree)), len(test.unreadable), ""

    def _photos(self, tree: Path) -> Photos:
        names = classes(tree)
        found = list(files(tree, names))
        if empty := sorted({*range(len(names))} - {label for _, label in found}):
            folder = tree / names[empty[0]]
            raise UserError(f"{folder}: a class without images; add images or remove the folder")
        photos = [
            Photo(
                os.path.relpath(file, self.folder),
                label,
                partial(opened, file, LARGEST),
                file.lower().endswith(ENDINGS),
            )
            for file, label in found
        ]
        return Photos(len(photos), [photos])


def _tell(path: Path, parts: dict[str, Path]) -> None:
    """Log what of `path` is used as which split, where that is not plain, and what is not read."""
    if "test" in parts and parts["test"].name.lower() not in NAMES["test"]:
        name = parts["test"].name
        log.info("%s: there is no folder for testing, so %s is used for testing", path, name)
    used = {tree.name for tree in parts.values() if tree != path}
    loose = [entry.name for tree in {path, *parts.values()} for entry in tree.iterdir() if entry.is_file()]
    if beside := [name for name in folders(path) if used and name not in used]:
        log.warning("%s: not read: %s, beside %s", path, listed(beside, 5), listed(sorted(used), 3))
    if images := sorted(name for name in loose if name.lower().endswith(ENDINGS) and not hidden(name)):
        what = counted(len(images), "image lies", "images lie")
        log.warning("%s: not read: %s in no class folder: %s", path, what, listed(images, 3))
