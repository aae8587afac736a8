"""Images that stay in their files until they are asked for: what the large data sets are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.conversion import decoded, unreadable
from dataset_distillation.datasets.data import Split
from dataset_distillation.datasets.splits import verify_labels
from dataset_distillation.errors import UserError, refuse

if TYPE_CHECKING:
    import torch


# Of the networks that torchvision trained on ImageNet.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

JPEG_END = b"\xff\xd9"


class Sample(NamedTuple):
    """An image, or the part of it inside `box`: (left, top, right, bottom), pixels counted from 0."""

    file: Path
    label: int
    box: tuple[int, int, int, int] | None = None


class Pictures:
    """Samples decoded on demand, the first `kept` of those asked for once and for all.

    Nothing is ever thrown out for another: where every image is as likely as any, that keeps as many hits
    as any rule. No file stays open.
    """

    def __init__(self, samples: Sequence[Sample], shape: tuple[int, int, int], kept: int) -> None:
        self.samples, self.shape, self.kept = samples, shape, kept
        self.cache: dict[int, torch.Tensor] = {}

    def __getitem__(self, places: torch.Tensor) -> torch.Tensor:
        """uint8 (n, channels, height, width). Raises UserError naming the file that cannot be read."""
        import torch

        if not len(places):
            return torch.empty(0, *self.shape, dtype=torch.uint8)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # Pillow decodes without Python's lock
            return torch.stack(list(pool.map(self._picture, places.tolist())))

    def _picture(self, place: int) -> torch.Tensor:
        if place in self.cache:
            return self.cache[place]
        file, _, box = self.samples[place]
        picture = decoded(file, self.shape[0], self.shape[1], box)
        if len(self.cache) < self.kept:
            self.cache[place] = picture
        return picture


@dataclass(frozen=True)
class FileSplit(Split):
    """Its images are those at `places` (N,) of `pictures`, which other splits share."""

    pictures: Pictures
    places: torch.Tensor

    def pixels(self, indices: torch.Tensor | slice) -> torch.Tensor:
        return self.pictures[self.places[indices]]

    def subset(self, indices: torch.Tensor) -> Split:
        return replace(self, places=self.places[indices], labels=self.labels[indices])


@dataclass
class Files(Dataset):
    """A data set in an official tree of files; a source derives from it: `samples` and `classes`."""

    #: The tree, in `root`, and the archives that unpack to it.
    tree: ClassVar[str]
    archives: ClassVar[str]

    root: str = "data"
    cache: float = 2.0  # GB of decoded images that are kept

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache < 0:
            raise refuse("dataset.cache", self.cache, "must be 0 (nothing is kept) or more")
        if self.border:
            raise refuse("dataset.border", self.border, f"must be 0: the images of {self.name} stay in files")

    def samples(self, tree: Path, part: str) -> list[Sample]:
        """Those of a part, `train` or `test`. Raises UserError naming a bad file."""
        raise NotImplementedError

    def classes(self, tree: Path) -> list[str]:
        """The names of the classes. Raises UserError naming a bad file."""
        raise NotImplementedError

    def splits(self) -> tuple[Split, Split, str]:
        """Raises UserError naming the first file that is missing, empty, cut short or no image."""
        tree = self._found()
        parts = self.samples(tree, "train"), self.samples(tree, "test")
        train, test = self._opened(tree, parts)
        verify_labels(self.name, train.labels, test.labels, list(train.specification.class_names))
        return train, test, _checksum(parts)

    def test_split(self) -> Split:
        tree = self._found()
        [test] = self._opened(tree, [self.samples(tree, "test")])
        return test

    def _found(self) -> Path:
        tree = Path(self.root).expanduser() / self.tree
        if not tree.is_dir():
            remedy = f"unpack {self.archives} in DATA_DIR (dataset.root)"
            raise UserError(f"dataset {self.name}: no folder {tree}; {remedy}")
        return tree

    def _opened(self, tree: Path, parts: Sequence[list[Sample]]) -> list[Split]:
        """A split a part; they share what is kept of decoded images."""
        import torch

        samples = [sample for part in parts for sample in part]
        specification = self.specification(self.named(self.classes(tree)), None)
        _check(samples)
        kept = int(self.cache * 1e9) // torch.Size(specification.shape).numel()  # a byte a pixel and channel
        pictures = Pictures(samples, specification.shape, kept)
        places = torch.arange(len(samples)).split([len(part) for part in parts])
        labels = torch.tensor([sample.label for sample in samples], dtype=torch.long)
        return [FileSplit(labels[of_part], specification, pictures, of_part) for of_part in places]


def _check(samples: Iterable[Sample]) -> None:
    """Every file is read as far as it is cheap, so that a run does not die of it hours later."""
    checked: dict[Path, tuple[int, int]] = {}
    for file, _, box in samples:
        if file not in checked:
            checked[file] = _size(file)
        width, height = checked[file]
        if box and not (max(0, box[0]) < min(box[2], width) and max(0, box[1]) < min(box[3], height)):
            raise UserError(f"{file}: {width}×{height} pixels, none of them in the annotated box {box}")


def _size(file: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with open(file, "rb") as opened, Image.open(opened) as image:
            opened.seek(-len(JPEG_END), 2)
            # Where a JPEG does not end as it should, decoding says whether all of it is there.
            if opened.read() != JPEG_END:
                image.load()
            return image.size
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; is the data set unpacked whole?") from error
    except Exception as error:
        raise unreadable(file, error) from error


def _checksum(splits: Iterable[Iterable[Sample]]) -> str:
    """SHA-256 over what was read of the annotations (name, label and box) and the size of each file.

    Not over the bytes of the images: VOC 2007 and CUB-200 have about a gigabyte of them each.
    """
    digest = hashlib.sha256()
    for name, samples in zip(("train", "test"), splits, strict=True):
        digest.update(name.encode())
        for file, label, box in samples:
            digest.update(f"{file.name} {file.stat().st_size} {label} {box}\n".encode())
    return digest.hexdigest()


def lines(file: Path) -> list[str]:
    """The lines of a text file that are not blank. Raises UserError, one line, if it cannot be read."""
    try:
        found = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
    if not any(found):
        raise UserError(f"{file}: empty")
    return [line for line in found if line]
