"""A truncated unroll: where its window starts, and that the window alone is differentiated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.unroll import Moment
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.truncated import Truncated
from support.cases import CASES, OPTIMIZERS, Case, OnLeNet, assert_equal, by_hand, optimizers

Make = Callable[..., Experiment]


@optimizers
@pytest.mark.parametrize("sizes", CASES)
def test_a_window_of_all_steps_is_recompute(sizes: tuple[int, int, int], optimizer: InnerOptimizer) -> None:
    case = Case(*sizes)
    window = Truncated(window=sizes[0] * sizes[1], start="0")
    for ours, theirs in zip(
        case.meta_gradient(window, optimizer), case.meta_gradient(Recompute(), optimizer), strict=True
    ):
        assert torch.equal(ours, theirs)


@optimizers
@pytest.mark.parametrize(
    ("start", "window", "stored"), [(0, 4, False), (3, 4, False), (7, 2, False), (3, 4, True)]
)
def test_the_window_alone_is_differentiated(
    start: int, window: int, stored: bool, optimizer: InnerOptimizer
) -> None:
    """The optimiser's memory goes into the window, and no gradient comes out of its beginning."""
    case = Case(3, 3, 2)
    ours = case.meta_gradient(Truncated(window=window, start=str(start), stored=stored), optimizer)
    assert_equal(ours, by_hand(optimizer, case, start, start + window), 1e-10)
    rates = ours[2].flatten()
    assert rates.nonzero().flatten().tolist() == list(range(start, start + window))


def test_on_lenet() -> None:
    case, optimizer = OnLeNet(2, 2, 3), OPTIMIZERS["momentum"]
    ours = case.meta_gradient(Truncated(window=2, start="1"), optimizer)
    assert_equal(ours, by_hand(optimizer, case, 1, 3), 1e-9)


def starts(experiment: Experiment) -> list[int]:
    number, inner_steps = experiment.outer.steps, experiment.distilled.unrolled
    moments = [Moment(step, number, inner_steps, experiment.seed) for step in range(number)]
    engines = [experiment.unroll.at(moment) for moment in moments]
    return [int(engine.diagnostics()["window_start"]) for engine in engines]


def make(experiment: Make, start: str, *more: str) -> Experiment:
    options = ("distilled.steps=5", "distilled.epochs=2", "unroll=truncated", "unroll.window=6")
    return experiment(*options, f"unroll.start={start}", "outer.steps=401", *more)


def test_the_last_window_ends_with_the_unroll(experiment: Make) -> None:
    assert set(starts(make(experiment, "last"))) == {4}
    assert set(starts(make(experiment, "2"))) == {2}
    assert set(starts(make(experiment, "last", "unroll.window=60"))) == {0}


def test_a_curriculum_moves_from_the_first_window_to_the_last(experiment: Make) -> None:
    found = starts(make(experiment, "curriculum"))
    assert found == sorted(found)
    assert Counter(found) == {0: 51, 1: 99, 2: 101, 3: 99, 4: 51}  # round(step / 100), halves to even


def test_random_windows_start_everywhere_and_belong_to_seed_and_step(experiment: Make) -> None:
    found = starts(make(experiment, "random"))
    assert all(50 < count < 110 for count in Counter(found).values())
    assert set(found) == {0, 1, 2, 3, 4}
    assert found == starts(make(experiment, "random"))
    assert found != starts(make(experiment, "random", "seed=1"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("unroll.start=first", r"unroll.start=first: must be last, random, curriculum or the number"),
        ("unroll.start=10", r"unroll.start=10: must be below 10, the number of inner steps"),
        ("unroll.window=0", r"unroll.window=0: must be greater than 0"),
    ],
)
def test_what_is_no_window_is_refused(option: str, message: str, experiment: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        make(experiment, "last", option)
