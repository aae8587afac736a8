"""Data sets: one file per source. What comes out is tensors and a specification.

To add a source: one file here with a dataclass derived from `Dataset`, and one YAML in `conf/dataset/`
whose first default is `/schema/dataset/<file name>@_here_`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from dataset_distillation.errors import UserError, positive, refuse

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
    """uint8 images (N, channels, height, width), a quarter of the memory of floats; int64 labels (N,)."""

    images: torch.Tensor
    labels: torch.Tensor
    specification: Specification

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: torch.Tensor | slice = slice(None)) -> Batch:
        """The chosen images, scaled to [0, 1] and normalised by the specification's mean and std."""
        images = self.images[indices] / 255
        mean = images.new_tensor(self.specification.mean).view(-1, 1, 1)
        std = images.new_tensor(self.specification.std).view(-1, 1, 1)
        return Batch((images - mean) / std, self.labels[indices])

    def subset(self, indices: torch.Tensor) -> Split:
        return replace(self, images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True)
class Data:
    """The three splits. Distil on train, choose on validation, touch test once, at the end."""

    specification: Specification
    train: Split
    validation: Split
    test: Split
    checksum: str  # SHA-256 over the images and labels of the train and test sets, as the source gave them


class Raw(NamedTuple):
    """What a source hands over: uint8 images (N, channels, height, width) of any size, int64 labels."""

    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    class_names: list[str]


@dataclass
class Dataset:
    """The options that every data set has; a source derives from it and implements `read`."""

    name: str = "???"
    channels: int = 1  # images are converted to 1 (grey) or 3 (RGB)
    image_size: int = 28  # images are resized to image_size × image_size
    mean: list[float] | None = None  # of pixels in [0, 1], per channel; null: measured on the train split
    std: list[float] | None = None
    class_names: list[str] = field(default_factory=list)
    validation: float = 0.1  # share of the train split kept for choosing checkpoints

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise refuse("dataset.channels", self.channels, "must be 1 (grey) or 3 (RGB)")
        positive("dataset.image_size", self.image_size)
        if not 0 < self.validation < 1:
            raise refuse("dataset.validation", self.validation, "must lie between 0 and 1")
        if (self.mean is None) != (self.std is None):
            raise refuse("dataset.mean", self.mean, f"dataset.std is {self.std}", "give both or neither")
        for std in self.std or []:
            positive("dataset.std", std)

    def read(self) -> Raw:
        """The source's images as they come, of any size. Raises UserError, one line, if it cannot."""
        raise NotImplementedError

    def load(self, seed: int) -> Data:
        """Read, convert to `channels` × `image_size` × `image_size`, split and describe the data set.

        The validation split is drawn from the train set, stratified by class, by `seed` alone.
        Raises UserError if images or labels are not what they should be.
        """
        from dataset_distillation.datasets import splits
        from dataset_distillation.randomness import stream

        raw = self.read()
        raw = raw._replace(class_names=self._named(raw.class_names))
        splits.verify(self.name, raw)
        train, test, specification = self._converted(raw)
        draw = stream(seed, "validation split").initial_seed() % 2**32  # what scikit-learn takes
        kept, held_out = splits.stratified(
            train.labels, self.validation, draw, "dataset.validation", raw.class_names
        )
        return Data(specification, train.subset(kept), train.subset(held_out), test, splits.checksum(raw))

    def _named(self, found: list[str]) -> list[str]:
        """The class names of the configuration if there are any, else those that the source gave."""
        if self.class_names and len(self.class_names) != len(found):
            allowed = f"must name the {len(found)} classes of {self.name}"
            raise refuse("dataset.class_names", self.class_names, allowed)
        return list(self.class_names) or found

    def _converted(self, raw: Raw) -> tuple[Split, Split, Specification]:
        from dataset_distillation.datasets.conversion import convert

        images = [convert(split[0], self.channels, self.image_size) for split in (raw.train, raw.test)]
        shape = (self.channels, self.image_size, self.image_size)
        mean, std = self._normalisation(images[0])
        specification = Specification(self.name, shape, tuple(raw.class_names), tuple(mean), tuple(std))
        train, test = (
            Split(pixels, labels, specification)
            for pixels, (_, labels) in zip(images, (raw.train, raw.test), strict=True)
        )
        return train, test, specification

    def _normalisation(self, images: torch.Tensor) -> tuple[list[float], list[float]]:
        """The configured mean and std if both have one value a channel, else those of `images`."""
        from dataset_distillation.datasets.conversion import moments

        if len(self.mean or []) == len(self.std or []) == self.channels:
            return list(self.mean or []), list(self.std or [])
        # Of the whole train set, validation included, so that runs with other seeds normalise alike.
        mean, std = moments(images)
        if min(std) == 0:
            raise UserError(f"dataset {self.name}: all pixels of a channel are equal: nothing to learn from")
        return mean, std
