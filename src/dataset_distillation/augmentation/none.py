"""Images as they are."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.augmentation import Augmentation


@dataclass
class NoAugmentation(Augmentation):
    """Images enter networks as they are."""
