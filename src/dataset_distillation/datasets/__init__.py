"""Datasets: the base class, and one file per source.

To add a source: write one file here with a dataclass derived from `Dataset`, and one YAML in `conf/dataset/`
whose first default is `/schema/dataset/<file name>@_here_`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dataset_distillation.datasets import splits
from dataset_distillation.datasets.conversion import convert, moments
from dataset_distillation.datasets.data import (
    Data,
    Identities,
    Raw,
    Sets,
    Specification,
    Split,
    TensorSplit,
    title,
)
from dataset_distillation.datasets.whitening import Whitening
from dataset_distillation.errors import UserError, check_counts, count, member, positive, printable, refuse
from dataset_distillation.randomness import stream

if TYPE_CHECKING:
    import torch


MOST_PIXELS = 4096  # the largest side of an image


@dataclass
class Dataset:
    """The options that every dataset has; a source derives from this class and implements `read`.

    name: the name of the dataset in messages, logs and files.
    channels: 1 (gray) or 3 (RGB); images are converted to it.
    image_size: the side of the square that images are resized to, in pixels.
    border: black pixels on each side of the image, included in `image_size`.
    mean, std: of the pixels in [0, 1], per channel; None: measured on the train set. Networks see
        (pixel − mean) / std.
    class_names: names of the classes, in order; empty: those of the source.
    validation: the share of the train set that checkpoints are chosen on, between 0 and 1.
    split_seed: the seed that draws this share, the same in all runs and pools; None: the seed of
        the run or of the pool, as in runs before this option, whose validation images a pool may have seen.
    whitening: `none`, `zca`, or `zca_per_image`: see whitening.py; it is fitted on the train split.
    regularization: what `zca` adds to each eigenvalue of the covariance of the normalized pixels;
        `zca_per_image` adds this multiple of their mean.

    Raises ConfigError if a value is not allowed.
    """

    name: str = "???"
    channels: int = 1
    image_size: int = count(28, most=MOST_PIXELS)
    border: int = count(0, most=MOST_PIXELS, least=0)
    mean: list[float] | None = None
    std: list[float] | None = None
    class_names: list[str] = field(default_factory=list)
    validation: float = 0.1
    split_seed: int | None = field(default=0, metadata={"absent": None})
    whitening: Whitening = Whitening.none
    regularization: float = 0.1

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise refuse("dataset.channels", self.channels, "must be 1 (gray) or 3 (RGB)")
        check_counts("dataset", self)
        if not 0 <= self.border < self.image_size / 2:
            allowed = f"must be 0 or more, and less than half of dataset.image_size={self.image_size}"
            raise refuse("dataset.border", self.border, allowed)
        if not 0 < self.validation < 1:
            raise refuse("dataset.validation", self.validation, "must lie between 0 and 1")
        if (self.mean is None) != (self.std is None):
            raise refuse("dataset.mean", self.mean, f"dataset.std is {self.std}", "set both or neither")
        for std in self.std or []:
            positive("dataset.std", std)
        self.whitening = member("dataset.whitening", self.whitening, Whitening)
        positive("dataset.regularization", self.regularization)

    @property
    def title(self) -> str:
        """The name in tables and pages."""
        return title(vars(self))

    @property
    def numbers(self) -> bool:
        """Whether the labels are numbers, float (N, 1), instead of classes."""
        return False

    def check(self) -> None:
        """Raise ConfigError for what is known to be wrong without reading an image."""
        if self.numbers and self.whitening != "none":
            raise refuse("dataset.whitening", self.whitening, "is for images, and these are rows of numbers")
        if self.class_names and not self.numbers:
            splits.check_names("dataset.class_names", self.class_names)
            self.named(self.known_names() or self.class_names)

    @property
    def measured(self) -> bool:
        """Whether mean and std are measured, since they do not have one value per channel."""
        return not len(self.mean or []) == len(self.std or []) == self.channels

    def known_names(self) -> list[str]:
        """Return the source's names of the classes, in order, if they are known without reading an image."""
        return []

    def load(self, seed: int) -> Data:
        """Read, describe and split the dataset; its images are `channels` × `image_size` × `image_size`.

        The validation split is drawn from the train set, stratified by class, as `split_seed` says, unless
        the source has one.

        Raises UserError if the images or labels cannot be read or are not as they should be.
        """
        train, test, checksum, validation, skipped = self.splits()
        if validation is not None:
            return self.whitened(Data(train, validation, test, checksum, skipped))
        draw = self.split_stream(seed).initial_seed() % 2**32  # scikit-learn's range
        class_names = list(train.specification.class_names)
        remaining, held_out = splits.stratified(
            train.labels, self.validation, draw, "dataset.validation", class_names
        )
        held = train.subset(held_out)
        data = Data(train.subset(remaining), held, test, checksum, skipped)
        return self.whitened(data)

    def whitened(self, data: Data) -> Data:
        """Return `data` as networks see them, if they are to be whitened, as the train split says."""
        if self.whitening == "none":
            return data
        whitening = data.train.whitening(self.whitening, self.regularization)
        specification = replace(data.specification, whitening=whitening)
        train, validation, test = (
            replace(split, specification=specification) for split in data.splits.values()
        )
        return replace(data, train=train, validation=validation, test=test)

    def split_stream(self, seed: int) -> torch.Generator:
        """Return what draws the validation split for a run or a pool of `seed`."""
        return stream(seed if self.split_seed is None else self.split_seed, "validation split")

    def load_test(self, seed: int) -> Data:
        """Load the test split only, which is enough to judge an artifact; the other splits are empty.

        A whitening needs the others, too.
        """
        import torch

        if self.whitening != "none":
            return self.load(seed)
        test, skipped, checksum = self.test_split()
        if not self.numbers:
            splits.verify_labels(self.name, {"test": test.labels}, test.specification.class_names)
        empty = test.subset(torch.empty(0, dtype=torch.long))
        return Data(empty, empty, test, checksum, skipped)

    def test_split(self) -> tuple[Split, int, str]:
        """Return the test split, how many files were left out, and the checksum of the source.

        A source that can read it without the train set does so; then the checksum is empty.
        """
        sets = self.splits()
        return sets.test, sets.skipped, sets.checksum

    def alone(self, images: torch.Tensor, labels: torch.Tensor, class_names: list[str]) -> Split:
        """Return the test split of uint8 images of any size, if the mean and std need not be measured."""
        pixels = convert(images, self.channels, self.image_size, self.border)
        return TensorSplit(labels, self.specification(self.named(class_names), None), pixels)

    def splits(self) -> Sets:
        """Return the train split, which has the validation images unless the source does, and the test split.

        The checksum is that of the images and labels that `read` returns. A source whose images stay in
        their files implements this method (see `image_files.py`) instead of `read`.
        """
        raw = self.read()
        raw = raw._replace(class_names=self.named(raw.class_names))
        splits.verify(self.name, raw)
        pixels = {
            part: convert(images, self.channels, self.image_size, self.border)
            for part, (images, _) in raw.parts.items()
        }
        specification = self.specification(raw.class_names, pixels["train"])
        parts = {
            part: TensorSplit(labels, specification, pixels[part]) for part, (_, labels) in raw.parts.items()
        }
        return Sets(parts["train"], parts["test"], splits.checksum(raw), parts.get("validation"), raw.skipped)

    def identities(self) -> Identities:
        """Return a checksum of each image as `read` returns it; split, border, mean and std change none."""
        raw = self.read()
        checksums = {part: splits.identities(images) for part, (images, _) in raw.parts.items()}
        return Identities(checksums["train"] + checksums.get("validation", []), checksums["test"])

    def read(self) -> Raw:
        """Return the source's images, of any size. Raises UserError, with a one-line message, if it fails."""
        raise NotImplementedError

    def named(self, source_names: list[str]) -> list[str]:
        """Return the class names of the configuration if there are any, else those of the source.

        Characters that are not UTF-8 or not printable, as folders may have them, are escaped.
        """
        if self.class_names and len(self.class_names) != len(source_names):
            allowed = f"must name the {len(source_names)} classes of {self.name}"
            raise refuse("dataset.class_names", self.class_names, allowed)
        return [printable(name) for name in self.class_names or source_names]

    def specification(self, class_names: list[str], images: torch.Tensor | None) -> Specification:
        """Return the specification, with the configured mean and std, or those of `images`.

        The configured values are used if both have one value per channel. Raises ConfigError if they must be
        measured and there are no images in memory, and UserError if a channel is constant.
        """
        shape = (self.channels, self.image_size, self.image_size)
        mean, std = self.mean or [], self.std or []
        if self.measured:
            if images is None:
                allowed = f"must be {self.channels} numbers, as dataset.std: images stay in their files"
                raise refuse("dataset.mean", self.mean, allowed, "set both")
            # Measured on the whole train set with the validation images, so that all seeds normalize alike.
            mean, std = moments(images)
        if min(std) == 0:
            raise UserError(f"dataset {self.name}: all pixels of a channel are equal: nothing to learn from")
        return Specification(self.title, shape, tuple(class_names), tuple(mean), tuple(std))
