"""Steps that are made when they are asked for."""

from __future__ import annotations

import pytest

from dataset_distillation.inner_optimizers import MadeSteps, Step


def test_an_error_in_making_a_step_is_no_end_of_the_steps() -> None:
    def make(t: int) -> Step:
        raise IndexError(t)

    with pytest.raises(IndexError):
        list(MadeSteps(make, range(3)))
