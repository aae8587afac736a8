"""The user's own function that returns arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation import user_code
from dataset_distillation.datasets import MOST_PIXELS, Dataset
from dataset_distillation.datasets.conversion import channels_first
from dataset_distillation.datasets.data import Raw
from dataset_distillation.datasets.splits import numbered
from dataset_distillation.errors import UserError, count

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Imported(Dataset):
    """`path`, my_package.my_module:load or my_file.py:load, is called without arguments.

    It returns ((train images, train labels), (test images, test labels)) and, optionally, a list of class
    names as a third item. Images: uint8 arrays or tensors (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3;
    labels: integers (N,) from 0 to classes − 1.
    """

    name: str = "imported"
    channels: int = 3
    image_size: int = count(32, most=MOST_PIXELS)
    path: str = "???"

    def check(self) -> None:
        super().check()
        user_code.load("dataset.path", self.path)

    def read(self) -> Raw:
        returned = user_code.call(self.path, user_code.load("dataset.path", self.path))
        try:
            (train, test), rest = ((images, labels) for images, labels in returned[:2]), returned[2:]
        except (TypeError, ValueError, KeyError) as error:
            form = "((train images, train labels), (test images, test labels)[, class names])"
            raise UserError(f"{self.path} must return {form}") from error
        splits = self._split("train", *train), self._split("test", *test)
        names = rest[0] if rest else self.class_names or numbered(self.name, *(part[1] for part in splits))
        return Raw(*splits, [str(name) for name in names])

    def _split(self, name: str, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
        import torch

        try:
            images, labels = channels_first(images), torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{self.path}: {name} images or labels: {user_code.describe(error)}") from error
        if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
            actual = f"{labels.dtype} of shape {tuple(labels.shape)}"
            raise UserError(f"{self.path}: {name} labels are {actual}: must be integers of shape (N,)")
        return images, labels.long()
