"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.data import Raw
from dataset_distillation.datasets.splits import cut


@dataclass
class Digits(Dataset):
    """1,797 digits of 8×8 pixels (sklearn.datasets.load_digits; UCI's optdigits): 1,437 train, 360 test.

    The source has no split. The split made here is stratified and the same in every run.
    """

    name: str = "digits"

    def known_names(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def read(self) -> Raw:
        import torch
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(digits.target).long()
        return cut(images, labels, 0.2, self.known_names())
