"""Folders as people have them: which of their folders are splits or classes, and which files are images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dataset_distillation.errors import UserError

#: What a folder of each split is called, in any case.
NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
#: Files and folders that systems leave behind, beside those that begin with a dot.
LEFT_BEHIND = {
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "$recycle.bin",
    "system volume information", "lost+found", "__pycache__",
}  # fmt: skip
#: How the names of images end. A file with another ending is an image only if its content is one.
ENDINGS = (
    ".apng", ".arw", ".avif", ".bmp", ".cr2", ".cr3", ".dib", ".dng", ".gif", ".heic", ".heif", ".ico",
    ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl", ".nef", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".psd", ".raf", ".svg", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip

LAYOUT = "one folder of images per class, <path>/<class>/<image>"


def hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def folders(path: Path) -> list[str]:
    """Return the names of the folders in `path`, in order, without hidden ones."""
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not hidden(entry.name))


def trees(path: Path) -> dict[str, Path]:
    """Return the folder of each split that `path` has, or `path` itself as that of `train`.

    Folders are splits if there is one for training and one for something else, or nothing beside them; so a
    class may be called `train`. Without a folder for testing that for validation is used for testing.
    """
    there = folders(path)
    found = {part: [name for name in there if name.lower() in names] for part, names in NAMES.items()}
    split = {part: path / names[0] for part, names in found.items() if names}
    alone = sum(map(len, found.values())) == len(there)
    if not ("train" in split and (len(split) > 1 or alone)) and not (alone and "test" in split):
        return {"train": path}
    if twice := next((names for names in found.values() if len(names) > 1), None):
        raise UserError(f"{path}: {' and '.join(twice)} are folders of the same split; rename one of them")
    if "validation" in split and "test" not in split:
        split["test"] = split.pop("validation")
    return split


def classes(path: Path) -> list[str]:
    """Return the names of the class folders in `path`, in order. Raises UserError unless there are two."""
    names = folders(path)
    if len(names) < 2:
        here = f"only one class folder, {names[0]!r}" if names else "no class folder"
        inner = names and len(folders(path / names[0])) > 1
        remedy = f"; set dataset.path={path / names[0]} if the classes are in there" if inner else ""
        raise UserError(f"dataset.path={path}: {here}; expected {LAYOUT}, two or more classes{remedy}")
    return names


def files(path: Path, names: list[str]) -> Iterator[tuple[str, int]]:
    """Yield (file, label) of the files in the folders of the classes, in the order of torchvision.

    Links are followed, but a folder counts once: a link back would give a class the images of others.
    """
    seen = {_identity(folder): folder for folder in (path.resolve(), *path.resolve().parents)}
    for label, name in enumerate(names):
        found = []
        for folder, inner, inside in os.walk(path / name, onerror=_raise, followlinks=True):
            if (first := seen.setdefault(_identity(Path(folder)), Path(folder))) != Path(folder):
                raise UserError(f"{folder}: the same folder as {first}; remove the link")
            inner[:] = [each for each in inner if not hidden(each)]
            found.append((folder, sorted(inside)))
        for folder, inside in sorted(found):
            yield from ((os.path.join(folder, file), label) for file in inside if not hidden(file))


def _raise(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read: {error.strerror or error}") from error


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
