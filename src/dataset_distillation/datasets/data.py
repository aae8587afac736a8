"""The data of an experiment: tensors in three splits, and a specification."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dataset_distillation.datasets.whitening import ZCA, Whitening
from dataset_distillation.errors import printable
from dataset_distillation.run.progress import progress

if TYPE_CHECKING:
    import torch


log = logging.getLogger(__name__)

MOST_CLASSES = 100_000  # of a dataset
CHUNK = 4096  # images that a whitening is fitted on at a time
MOST_COUNTED = 20  # classes in one line

UNNAMED = ("images", "imported")  # the names that stand in conf/ for the user's own data


def title(dataset: Mapping[str, Any]) -> str:
    """Return the name of a dataset in tables and pages, from its options.

    Data of the user that have no name have that of their folder, or the path of their function.
    """
    name, path = str(dataset.get("name", "")), dataset.get("path")
    if name not in UNNAMED or not isinstance(path, str):
        return printable(name)
    own = path if ":" in path else Path(path).expanduser().absolute().resolve().name
    return printable(own or name)


@dataclass(frozen=True)
class Specification:
    """What a network must know about a dataset.

    `shape` is (channels, height, width); `mean` and `std` are per channel, for pixels scaled to [0, 1], or
    for floats as they were given. A network sees (pixel − mean) / std, whitened if there is a `whitening`.
    """

    name: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitening: ZCA | None = field(default=None, compare=False, repr=False)

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def seen(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what networks see of pixels (..., channels, height, width), on the scale of mean and std."""
        normalized = (pixels - self._channels(self.mean, pixels)) / self._channels(self.std, pixels)
        return self.whitening.apply(normalized) if self.whitening else normalized

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Return the pixels of images (..., channels, height, width) as networks see them."""
        plain = self.whitening.undo(images) if self.whitening else images
        return plain * self._channels(self.std, plain) + self._channels(self.mean, plain)

    @staticmethod
    def _channels(values: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
        return like.new_tensor(values).view(-1, 1, 1)


class Batch(NamedTuple):
    """Normalized float images (n, channels, height, width); int64 labels (n,), or numbers (n, outputs)."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Split:
    """Images that are provided on demand, and in memory int64 labels (N,), or numbers (N, outputs)."""

    labels: torch.Tensor
    specification: Specification

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: torch.Tensor | slice = slice(None)) -> Batch:
        """The chosen images as networks see them: bytes are first scaled to [0, 1]."""
        pixels = self.pixels(indices)
        images = pixels if pixels.is_floating_point() else pixels / 255
        return Batch(self.specification.seen(images), self.labels[indices])

    @property
    def own_scale(self) -> bool:
        """Whether the pixels are floats beyond [0, 1], on the scale of whoever gave them."""
        return False

    def whitening(self, kind: Whitening, regularization: float) -> ZCA:
        """Return the whitening that is fitted on these images."""
        size = "×".join(map(str, self.specification.shape))
        log.info(
            "fitting a whitening (%s) of %s numbers per image to %s images", kind, size, f"{len(self):,}"
        )
        return ZCA.fit(kind, self._chunks(), self.specification.shape, regularization)

    def _chunks(self) -> Iterator[torch.Tensor]:
        import torch

        with progress("covariance of the images", len(self)) as advance:
            for part in torch.arange(len(self)).split(CHUNK):
                yield self.batch(part).images
                advance(len(part))

    def pixels(self, indices: torch.Tensor | slice) -> torch.Tensor:
        """The chosen images, uint8 or float, (n, channels, height, width)."""
        raise NotImplementedError

    def subset(self, indices: torch.Tensor) -> Split:
        """Return a split of the chosen images only."""
        raise NotImplementedError


@dataclass(frozen=True)
class TensorSplit(Split):
    """Images (N, channels, height, width) in memory: uint8, a quarter of what floats need, or float."""

    images: torch.Tensor

    @property
    def own_scale(self) -> bool:
        return self.images.is_floating_point() and bool(((self.images < 0) | (self.images > 1)).any())

    def pixels(self, indices: torch.Tensor | slice) -> torch.Tensor:
        return self.images[indices]

    def subset(self, indices: torch.Tensor) -> Split:
        return replace(self, images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True)
class Data:
    """The three splits: distill on train, choose on validation, and use test once, at the end."""

    train: Split
    validation: Split
    test: Split
    checksum: str  # SHA-256 of the train and test sets as the source provides them
    skipped: int = 0  # files that could not be read and were left out

    @property
    def specification(self) -> Specification:
        return self.test.specification

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def counts(self) -> Iterator[str]:
        """Yield how many images of which classes the splits have, in lines; of many classes, the extremes."""
        splits = {name: split for name, split in self.splits.items() if len(split)}
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
        left_out = f"; {self.skipped:,} files were left out" if self.skipped else ""
        names = self.specification.class_names
        if any(split.labels.is_floating_point() for split in splits.values()):
            yield f"{sizes} images with numbers{left_out}"
            return
        yield f"{sizes} images of {len(names):,} classes{left_out}"
        for split, labeled in splits.items():
            counts = labeled.labels.bincount(minlength=len(names)).tolist()
            if len(names) <= MOST_COUNTED:
                yield f"{split}: " + ", ".join(map("{} {:,}".format, names, counts))
            else:
                few, many = min(counts), max(counts)
                yield f"{split}: {few:,} ({names[counts.index(few)]}) to {many:,} of a class"


class Sets(NamedTuple):
    """What a source is split into, before the validation split is cut from the train set."""

    train: Split
    test: Split
    checksum: str  # as in `Data`
    validation: Split | None = None  # that of the source, which is not cut then
    skipped: int = 0  # files that could not be read and were left out


class Raw(NamedTuple):
    """What a source provides: images (N, channels, height, width) of any size and labels, as in a `Split`."""

    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    class_names: list[str]
    validation: tuple[torch.Tensor, torch.Tensor] | None = None  # if the source has one
    skipped: int = 0  # files that could not be read and were left out

    @property
    def parts(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """The splits by their names."""
        own = {"train": self.train, "test": self.test}
        return own if self.validation is None else {**own, "validation": self.validation}


class Identities(NamedTuple):
    """A checksum of each image of the train and the test set, as the source provides it."""

    train: list[bytes]
    test: list[bytes]
