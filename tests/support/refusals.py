"""What a dataset that cannot be loaded tells the user."""

from __future__ import annotations

import pytest

from dataset_distillation.datasets import Dataset
from dataset_distillation.errors import UserError


def error_of(dataset: Dataset) -> str:
    """What the user reads, which is one line."""
    with pytest.raises(UserError) as raised:
        dataset.load(0)
    assert "\n" not in str(raised.value)
    return str(raised.value)
