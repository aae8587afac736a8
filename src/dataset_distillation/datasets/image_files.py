"""Images that stay in their files until they are needed, for large datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from dataset_distillation.datasets import MOST_PIXELS, Dataset
from dataset_distillation.datasets.conversion import LARGEST, decoded, opened_image
from dataset_distillation.datasets.data import Identities, Sets, Split
from dataset_distillation.datasets.splits import verify_labels
from dataset_distillation.errors import FileError, NoFile, UserError, at_least, count, damaged, refuse
from dataset_distillation.files import opened, read

if TYPE_CHECKING:
    import torch


# The normalization of the networks that torchvision trained on ImageNet.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

LARGEST_TEXT = 2**26  # bytes of a list of files or of an annotation

JPEG_END = b"\xff\xd9"


class Sample(NamedTuple):
    """An image, or the part of it inside `box`: (left, top, right, bottom), in pixels counted from 0."""

    file: Path
    label: int
    box: tuple[int, int, int, int] | None = None


class Pictures:
    """Samples decoded on demand; the first `capacity` of them stay in memory.

    No image is replaced by another: if all images are equally likely, no other rule gives more cache hits. No
    file stays open.
    """

    def __init__(self, samples: Sequence[Sample], shape: tuple[int, int, int], capacity: int) -> None:
        self.samples, self.shape, self.capacity = samples, shape, capacity
        self.cache: dict[int, torch.Tensor] = {}

    def __getitem__(self, places: torch.Tensor) -> torch.Tensor:
        """Return uint8 (n, channels, height, width). Raises UserError naming a file that cannot be read."""
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
        if len(self.cache) < self.capacity:
            self.cache[place] = picture
        return picture


@dataclass(frozen=True)
class FileSplit(Split):
    """A split whose images are those at `places` (N,) of `pictures`, which other splits share."""

    pictures: Pictures
    places: torch.Tensor

    def pixels(self, indices: torch.Tensor | slice) -> torch.Tensor:
        return self.pictures[self.places[indices]]

    def subset(self, indices: torch.Tensor) -> Split:
        return replace(self, places=self.places[indices], labels=self.labels[indices])


@dataclass
class Files(Dataset):
    """Photographs in an official tree of files; a source derives from it: `samples` and `classes`.

    They are normalized as those of ImageNet, on which networks for them are pretrained.
    """

    #: The folder of the tree in `root`, and the archives that unpack to it.
    tree: ClassVar[str]
    archives: ClassVar[str]

    channels: int = 3
    image_size: int = count(224, most=MOST_PIXELS)
    mean: list[float] | None = field(default_factory=lambda: list(IMAGENET_MEAN))
    std: list[float] | None = field(default_factory=lambda: list(IMAGENET_STD))
    root: str = "data"
    cache: float = 2.0  # GB of decoded images that stay in memory

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("dataset.cache", self.cache, 0)
        if self.border:
            raise refuse("dataset.border", self.border, f"must be 0: the images of {self.name} stay in files")

    def samples(self, tree: Path, part: str) -> list[Sample]:
        """Return the samples of a part, `train` or `test`. Raises UserError naming a bad file."""
        raise NotImplementedError

    def classes(self, tree: Path) -> list[str]:
        """Return the names of the classes. Raises UserError naming a bad file."""
        raise NotImplementedError

    def known_names(self) -> list[str]:
        tree = self._tree()
        return self.classes(tree) if tree.is_dir() else []

    def splits(self) -> Sets:
        """Return what `Dataset.splits` returns.

        Raises UserError naming the first file that is missing, empty, cut short or not an image.
        """
        tree = self._folder()
        parts = self.samples(tree, "train"), self.samples(tree, "test")
        train, test = self._opened(tree, parts)
        names = train.specification.class_names
        verify_labels(self.name, {"train": train.labels, "test": test.labels}, names)
        return Sets(train, test, _checksum(parts))

    def identities(self) -> Identities:
        tree = self._folder()
        parts = (self.samples(tree, part) for part in ("train", "test"))
        return Identities(*([f"{file.name} {box}".encode() for file, _, box in part] for part in parts))

    def test_split(self) -> tuple[Split, int, str]:
        tree = self._folder()
        [test] = self._opened(tree, [self.samples(tree, "test")])
        return test, 0, ""

    def _tree(self) -> Path:
        return Path(self.root).expanduser() / self.tree

    def _folder(self) -> Path:
        tree = self._tree()
        if not tree.is_dir():
            remedy = f"unpack {self.archives} in DATA_DIR (dataset.root)"
            raise UserError(f"dataset {self.name}: no folder {tree}; {remedy}")
        return tree

    def _opened(self, tree: Path, parts: Sequence[list[Sample]]) -> list[Split]:
        """Return one split per part; the splits share the cache of decoded images."""
        import torch

        samples = [sample for part in parts for sample in part]
        specification = self.specification(self.named(self.classes(tree)), None)
        _check(samples)
        capacity = int(self.cache * 1e9) // torch.Size(specification.shape).numel()  # one byte per number
        pictures = Pictures(samples, specification.shape, capacity)
        places = torch.arange(len(samples)).split([len(part) for part in parts])
        labels = torch.tensor([sample.label for sample in samples], dtype=torch.long)
        return [FileSplit(labels[indices], specification, pictures, indices) for indices in places]


def _check(samples: Iterable[Sample]) -> None:
    """Check every file as far as that is cheap, so that a run does not fail hours later."""
    checked: dict[Path, tuple[int, int]] = {}
    for file, _, box in samples:
        if file not in checked:
            checked[file] = _size(file)
        width, height = checked[file]
        if box and not (max(0, box[0]) < min(box[2], width) and max(0, box[1]) < min(box[3], height)):
            raise UserError(f"{file}: {width}×{height} pixels, none of them in the annotated box {box}")


def _size(file: Path) -> tuple[int, int]:
    try:
        with opened_image(file) as image:
            size = image.size
            # If a JPEG does not end as it should, decode it to find out whether it is complete.
            if not _ends_as_a_jpeg(file):
                image.load()
            return size
    except NoFile as error:
        raise NoFile(f"{error}; is the dataset unpacked completely?") from error


def _ends_as_a_jpeg(file: Path) -> bool:
    with opened(file, LARGEST) as content:
        content.seek(-len(JPEG_END), 2)
        return content.read() == JPEG_END


def _checksum(splits: Iterable[Iterable[Sample]]) -> str:
    """SHA-256 over the annotations (name, label and box) and the size of each file.

    The bytes of the images are left out: VOC 2007 and CUB-200 have about a gigabyte each.
    """
    digest = hashlib.sha256()
    for name, samples in zip(("train", "test"), splits, strict=True):
        digest.update(name.encode())
        for file, label, box in samples:
            digest.update(f"{file.name} {file.stat().st_size} {label} {box}\n".encode())
    return digest.hexdigest()


def lines(file: Path) -> list[str]:
    """Return the lines of a text file that are not blank. Raises UserError if it cannot be read."""
    try:
        stripped = [line.strip() for line in read(file, LARGEST_TEXT).decode().splitlines()]
    except UnicodeDecodeError as error:
        raise damaged(file, "a text file in UTF-8", error) from error
    if not any(stripped):
        raise FileError(f"{file}: empty")
    return [line for line in stripped if line]
