"""Data sets: one file per source. What comes out is tensors and a specification.

To add a source: one file here with a dataclass derived from `Dataset`, and one YAML in `conf/dataset/`
whose first default is `/schema/dataset/<file name>@_here_`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Specification:
    """What a network must know of a data set.

    `shape` is (channels, height, width); `mean` and `std` are per channel, for pixels scaled to [0, 1].
    """

    name: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def classes(self) -> int:
        return len(self.class_names)


class Batch(NamedTuple):
    """Normalised float images (n, channels, height, width) and int64 labels (n,)."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Split:
    """Labelled images: int64 labels (N,) in memory, and images that are there when asked for."""

    labels: torch.Tensor
    specification: Specification

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: torch.Tensor | slice = slice(None)) -> Batch:
        """The chosen images, bytes scaled to [0, 1], normalized by the specification's mean and std."""
        pixels = self.pixels(indices)
        images = pixels if pixels.is_floating_point() else pixels / 255
        mean = images.new_tensor(self.specification.mean).view(-1, 1, 1)
        std = images.new_tensor(self.specification.std).view(-1, 1, 1)
        return Batch((images - mean) / std, self.labels[indices])

    def pixels(self, indices: torch.Tensor | slice) -> torch.Tensor:
        """The chosen images, uint8 or float, (n, channels, height, width)."""
        raise NotImplementedError

    def subset(self, indices: torch.Tensor) -> Split:
        """The split of the chosen images alone."""
        raise NotImplementedError


@dataclass(frozen=True)
class TensorSplit(Split):
    """uint8 images (N, channels, height, width) in memory, a quarter of what floats would take."""

    images: torch.Tensor

    def pixels(self, indices: torch.Tensor | slice) -> torch.Tensor:
        return self.images[indices]

    def subset(self, indices: torch.Tensor) -> Split:
        return replace(self, images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True)
class Data:
    """The three splits. Distil on train, choose on validation, touch test once, at the end."""

    specification: Specification
    train: Split
    validation: Split
    test: Split
    checksum: str  # SHA-256 of the train and test sets as the source gave them


class Raw(NamedTuple):
    """What a source hands over: uint8 images (N, channels, height, width) of any size, int64 labels."""

    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    class_names: list[str]
