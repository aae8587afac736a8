from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataset_distillation.datasets import splits
from dataset_distillation.datasets.conversion import convert, moments
from dataset_distillation.datasets.data import Data, Raw, Specification, Split, TensorSplit
from dataset_distillation.errors import UserError, positive, refuse
from dataset_distillation.randomness import stream

if TYPE_CHECKING:
    import torch


@dataclass
class Dataset:
    """The options that every data set has; a source derives from it and implements `read`."""

    name: str = "???"
    channels: int = 1  # images are converted to 1 (grey) or 3 (RGB)
    image_size: int = 28  # images are resized to image_size × image_size
    border: int = 0  # of it: black pixels on each side of the image
    mean: list[float] | None = None  # of pixels in [0, 1], per channel; null: measured on the train split
    std: list[float] | None = None
    class_names: list[str] = field(default_factory=list)
    validation: float = 0.1  # share of the train split kept for choosing checkpoints

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise refuse("dataset.channels", self.channels, "must be 1 (grey) or 3 (RGB)")
        positive("dataset.image_size", self.image_size)
        if not 0 <= self.border < self.image_size / 2:
            allowed = f"must be 0 or more, and leave something of dataset.image_size={self.image_size}"
            raise refuse("dataset.border", self.border, allowed)
        if not 0 < self.validation < 1:
            raise refuse("dataset.validation", self.validation, "must lie between 0 and 1")
        if (self.mean is None) != (self.std is None):
            raise refuse("dataset.mean", self.mean, f"dataset.std is {self.std}", "give both or neither")
        for std in self.std or []:
            positive("dataset.std", std)

    @property
    def numbers(self) -> bool:
        """Whether its labels are numbers, float (N, 1), instead of classes."""
        return False

    def load(self, seed: int) -> Data:
        """Read, describe and split the data set, its images `channels` × `image_size` × `image_size`.

        The validation split is drawn from the train set, stratified by class, by `seed` alone.
        Raises UserError if images or labels are not what they should be.
        """

        train, test, checksum = self.splits()
        draw = stream(seed, "validation split").initial_seed() % 2**32  # what scikit-learn takes
        class_names = list(train.specification.class_names)
        kept, held_out = splits.stratified(
            train.labels, self.validation, draw, "dataset.validation", class_names
        )
        return Data(train.specification, train.subset(kept), train.subset(held_out), test, checksum)

    def load_test(self, seed: int) -> Data:
        """`load` of the test split, all that judging an artifact needs; the others are empty."""
        import torch

        test = self.test_split()
        nothing = test.subset(torch.empty(0, dtype=torch.long))
        return Data(test.specification, nothing, nothing, test, "")

    def test_split(self) -> Split:
        """The test split; a source that can read it without the train set does so."""
        return self.splits()[1]

    def alone(self, images: torch.Tensor, labels: torch.Tensor, class_names: list[str]) -> Split:
        """The test split of uint8 images of any size, where the mean and std need not be measured."""

        pixels = convert(images, self.channels, self.image_size, self.border)
        return TensorSplit(labels, self.specification(self.named(class_names), None), pixels)

    def splits(self) -> tuple[Split, Split, str]:
        """The train split, validation included, the test split, and a checksum of both: of what `read` gives.

        A source whose images stay in their files implements this (see `files.py`) instead of `read`.
        """

        raw = self.read()
        raw = raw._replace(class_names=self.named(raw.class_names))
        splits.verify(self.name, raw)
        images = [
            convert(split[0], self.channels, self.image_size, self.border) for split in (raw.train, raw.test)
        ]
        specification = self.specification(raw.class_names, images[0])
        train, test = (
            TensorSplit(labels, specification, pixels)
            for pixels, (_, labels) in zip(images, (raw.train, raw.test), strict=True)
        )
        return train, test, splits.checksum(raw)

    def read(self) -> Raw:
        """The source's images as they come, of any size. Raises UserError, one line, if it cannot."""
        raise NotImplementedError

    def named(self, found: list[str]) -> list[str]:
        """The class names of the configuration if there are any, else those that the source gave."""
        if self.class_names and len(self.class_names) != len(found):
            allowed = f"must name the {len(found)} classes of {self.name}"
            raise refuse("dataset.class_names", self.class_names, allowed)
        return list(self.class_names) or found

    def specification(self, class_names: list[str], images: torch.Tensor | None) -> Specification:
        """With the configured mean and std if both have one value a channel, else those of `images`.

        Raises ConfigError if they are to be measured and there are no images in memory.
        """

        shape = (self.channels, self.image_size, self.image_size)
        mean, std = self.mean or [], self.std or []
        if not len(mean) == len(std) == self.channels:
            if images is None:
                allowed = f"must be {self.channels} numbers, as dataset.std: images stay in their files"
                raise refuse("dataset.mean", self.mean, allowed, "give both")
            # Of the whole train set, validation included, so that runs with other seeds normalise alike.
            mean, std = moments(images)
        if min(std) == 0:
            raise UserError(f"dataset {self.name}: all pixels of a channel are equal: nothing to learn from")
        return Specification(self.name, shape, tuple(class_names), tuple(mean), tuple(std))
