"""Images that a Python program has in memory; a config cannot name them."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.data import Data, Raw, Sets, TensorSplit
from dataset_distillation.datasets.splits import check_names, checksum, cut, numbered, verify_labels
from dataset_distillation.errors import UserError, refuse

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset as TorchDataset


class InMemory(Dataset):
    """A dataset of your own tensors.

    images: (N, channels, size, size) or, if gray, (N, size, size); uint8 from 0 to 255, or floats on any
        scale. Networks see them normalized by the mean and standard deviation of each channel.
    labels: integers (N,), the classes from 0; or floats (N, 1), numbers to predict.
    test: the images and labels of the test set, or the share of every class that is cut for it.
    class_names: the names of the classes, in order; by default their numbers.
    validation: the share of the train set that checkpoints are chosen on.
    name: the name of the dataset in messages and metadata.

    Raises UserError, with a message of one line, if images and labels are not like this, and ConfigError if
    a share does not lie between 0 and 1.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        test: tuple[Tensor, Tensor] | float = 0.2,
        class_names: Sequence[str] | None = None,
        validation: float = 0.1,
        name: str = "in memory",
    ) -> None:
        train = _checked(name, images, labels)
        self._numbers = train[1].is_floating_point()
        self._raw = self._split(name, train, test, class_names)
        _, channels, height, width = self._raw.train[0].shape
        if height != width:
            raise UserError(f"dataset {name}: images of {height}×{width} pixels: must be square")
        self.name, self.channels, self.image_size, self.border = name, channels, height, 0
        self.mean = self.std = None
        self.class_names = list(self._raw.class_names)
        if not _is_share(validation):
            raise refuse("validation", validation, "must lie between 0 and 1")
        self.validation = float(validation)

    __eq__ = object.__eq__  # two datasets are equal if they are the same object
    __hash__ = object.__hash__

    @property
    def numbers(self) -> bool:
        return self._numbers

    def _split(
        self,
        name: str,
        train: tuple[Tensor, Tensor],
        test: Any,
        class_names: Sequence[str] | None,
    ) -> Raw:
        if class_names is not None and len(class_names):
            names = list(map(str, class_names))
            check_names("class_names", names)
        else:
            names = ["target"] if self._numbers else numbered(name, train[1])
        if isinstance(test, tuple | list) and len(test) == 2:
            raw = Raw(train, _checked(name, *test), names)
        elif not _is_share(test):
            told = test if isinstance(test, Real | str) else f"a {type(test).__name__}"
            raise refuse("test", told, "must lie between 0 and 1, or be images and labels")
        elif self._numbers:
            remaining, held_out = _indices("test", len(train[1]), float(test), 0)
            raw = Raw(_at(train, remaining), _at(train, held_out), names)
        else:
            raw = cut(*train, float(test), names)
        if raw.train[0].shape[1:] != raw.test[0].shape[1:] or raw.train[0].dtype != raw.test[0].dtype:
            kinds = [f"{images.dtype} {tuple(images.shape[1:])}" for images in (raw.train[0], raw.test[0])]
            raise UserError(f"dataset {name}: train images are {kinds[0]}, and test images are {kinds[1]}")
        if not self._numbers:
            verify_labels(name, {"train": raw.train[1], "test": raw.test[1]}, names)
        return raw

    def read(self) -> Raw:
        return self._raw

    def splits(self) -> Sets:
        specification = self.specification(self.class_names, self._raw.train[0])
        train, test = (
            TensorSplit(labels, specification, own) for own, labels in (self._raw.train, self._raw.test)
        )
        return Sets(train, test, checksum(self._raw))

    def load(self, seed: int) -> Data:
        if not self.numbers:
            return super().load(seed)
        train, test, content, *_ = self.splits()
        draw = self.split_stream(seed).initial_seed()
        remaining, held_out = _indices("validation", len(train), self.validation, draw)
        return Data(train.subset(remaining), train.subset(held_out), test, content)


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0 < value < 1  # type: ignore[operator]


def tensors(dataset: TorchDataset[tuple[Any, Any]]) -> tuple[Tensor, Tensor]:
    """Return all images and labels of a `torch.utils.data.Dataset` of (image, label) pairs, for `InMemory`.

    dataset: its images must be tensors of one shape; for a torchvision dataset use `transform=ToTensor()`.

    Returns images (N, channels, height, width) and int64 labels (N,), or float labels (N, outputs).

    Raises UserError if an image is not a tensor.
    """
    import torch

    pairs = [dataset[index] for index in range(len(dataset))]  # type: ignore[arg-type]
    odd = next((type(image).__name__ for image, _ in pairs if not isinstance(image, torch.Tensor)), None)
    if odd:
        remedy = "use a transform that makes tensors, for example torchvision's ToTensor()"
        raise UserError(f"an image of the dataset is a {odd}: must be a tensor; {remedy}")
    labels = torch.stack([torch.as_tensor(label) for _, label in pairs])
    if labels.is_floating_point():
        return torch.stack([image for image, _ in pairs]), labels.float().view(len(pairs), -1)
    return torch.stack([image for image, _ in pairs]), labels.long()


def _checked(name: str, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Return images (N, channels, height, width), uint8 or float, and labels, int64 (N,) or float (N, 1)."""
    import torch

    images, labels = _tensor(name, "images", images), _tensor(name, "labels", labels)
    images = images.unsqueeze(1) if images.ndim == 3 else images
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        actual = f"{images.dtype} of shape {tuple(images.shape)}"
        allowed = "must be uint8 or float, (N, channels, size, size) or (N, size, size)"
        raise UserError(f"dataset {name}: images are {actual}: {allowed}")
    if not len(images):
        raise UserError(f"dataset {name}: no images")
    if labels.shape[:1] != images.shape[:1]:
        number = len(labels) if labels.ndim else 0
        raise UserError(f"dataset {name}: {len(images)} images with {number} labels: must be equal")
    numbers = labels.is_floating_point() and labels.shape[1:] == (1,)
    if not numbers and (labels.ndim != 1 or labels.is_floating_point() or labels.is_complex()):
        actual = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise UserError(f"dataset {name}: labels are {actual}: must be integers (N,), or floats (N, 1)")
    images = images.float() if images.is_floating_point() else images
    labels = labels.float() if numbers else labels.long()
    for what, values in (("pixel", images), ("label", labels)):
        if not values.isfinite().all():
            raise UserError(f"dataset {name}: a {what} is not a finite number of single precision")
    if not numbers and labels.min() < 0:
        raise UserError(f"dataset {name}: the lowest label is {int(labels.min())}: must be 0 or more")
    return images, labels


def _tensor(name: str, what: str, values: Any) -> Tensor:
    """Return a tensor of what a program has: a tensor, an array, a column of a table, or nested lists."""
    import numpy as np
    import torch

    try:
        if not isinstance(values, torch.Tensor):
            values = torch.from_numpy(np.array(values))  # a copy, whatever its strides
        return values.detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        told = f"{what} are a {type(values).__name__} that is no array of numbers"
        remedy = "of a torch.utils.data.Dataset dataset_distillation.tensors makes both"
        raise UserError(f"dataset {name}: {told}; {remedy}") from error


def _at(pairs: tuple[Tensor, Tensor], indices: Tensor) -> tuple[Tensor, Tensor]:
    return pairs[0][indices], pairs[1][indices]


def _indices(key: str, number: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the remaining indices and the `share` that is cut, both ascending; drawn with `seed`.

    Raises ConfigError, which names `key`, if none would remain.
    """
    import torch

    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    cut_off = max(1, round(share * number))
    if cut_off >= number:
        raise refuse(key, share, f"cuts {cut_off} of {number} images, and none is left", "set it lower")
    return order[cut_off:].sort().values, order[:cut_off].sort().values
