"""The data of an experiment: tensors in three splits, and a specification."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from dataset_distillation.datasets.whitening import ZCA

if TYPE_CHECKING:
    import torch


MOST_CLASSES = 100_000  # of a dataset


@dataclass(frozen=True)
class Specification:
    """What a network must know about a dataset.

    `shape` is (channels, height, width); `mean` and `std` are per channel, for pixels scaled to [0, 1]. A
    network sees (pixel − mean) / std, whitened if there is a `whitening`.
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
        """Return what networks see of pixels in [0, 1], (..., channels, height, width)."""
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
    """Normalized float images (n, channels, height, width) and int64 labels (n,)."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Split:
    """Labeled images: int64 labels (N,) in memory, and images that are provided on demand."""

    labels: torch.Tensor
    specification: Specification

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: torch.Tensor | slice = slice(None)) -> Batch:
        """The chosen images as networks see them: bytes are first scaled to [0, 1]."""
        pixels = self.pixels(indices)
        images = pixels if pixels.is_floating_point() else pixels / 255
        return Batch(self.specification.seen(images), self.labels[indices])

    def pixels(self, indices: torch.Tensor | slice) -> torch.Tensor:
        """The chosen images, uint8 or float, (n, channels, height, width)."""
        raise NotImplementedError

    def subset(self, indices: torch.Tensor) -> Split:
        """Return a split of the chosen images only."""
        raise NotImplementedError


@dataclass(frozen=True)
class TensorSplit(Split):
    """uint8 images (N, channels, height, width) in memory; floats would need four times as much."""

    images: torch.Tensor

    def pixels(self, indices: torch.Tensor | slice) -> torch.Tensor:
        return self.images[indices]

    def subset(self, indices: torch.Tensor) -> Split:
        return replace(self, images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True)
class Data:
    """The three splits: distill on train, choose on validation, and use test once, at the end."""

    specification: Specification
    train: Split
    validation: Split
    test: Split
    checksum: str  # SHA-256 of the train and test sets as the source provides them


class Raw(NamedTuple):
    """What a source provides: uint8 images (N, channels, height, width) of any size, and int64 labels."""

    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    class_names: list[str]


class Identities(NamedTuple):
    """A checksum of each image of the train and the test set, as the source provides it."""

    train: list[bytes]
    test: list[bytes]
