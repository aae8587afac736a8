"""Intervals and spreads: against scipy, and by how often an interval holds what it is about."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas
import pytest
from scipy import stats

from dataset_distillation.evaluation.held_out import pairs
from dataset_distillation.evaluation.statistics import difference, spread

#: Standard deviations in points, measured on k-means sets that train LeNets by Adam.
SET, NETWORK, RESIDUAL = 1.57, 0.97, 1.81


def frame(
    accuracies: Sequence[float], networks: Sequence[int | None], sets: Sequence[int] | None = None
) -> pandas.DataFrame:
    networks_column = pandas.array(networks, dtype="Int64")
    sets = [0] * len(accuracies) if sets is None else sets
    return pandas.DataFrame({"accuracy": accuracies, "network": networks_column, "set": sets})


@pytest.mark.parametrize(
    ("sets", "networks"),
    [(10, 20), *(pytest.param(*more, marks=pytest.mark.slow) for more in ((10, 200), (10, 13), (1, 20)))],
)
def test_in_95_of_100_repetitions_the_interval_holds_the_difference(sets: int, networks: int) -> None:
    """Of new sets and new networks; with one set, of new networks on this set.

    As if all runs were independent, those of 10 sets and 200 networks would hold it in 55 of 100.
    """
    draw, held = np.random.default_rng(0), 0
    i, j = np.array(pairs(sets, networks)).T
    for _ in range(1000):
        of_networks, of_sets = draw.normal(0, NETWORK, networks), draw.normal(0, SET, sets)
        ours = 92 + of_networks + draw.normal(0, 1, networks)
        theirs = 87 + of_sets[i] + of_networks[j] / 2 + draw.normal(0, RESIDUAL, len(j))
        found = difference(frame(ours, range(networks)), frame(theirs, j, i), "accuracy")
        truth = 92 - 87 - (of_sets[0] if sets == 1 else 0)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
        assert found.about == ("any networks, this set" if sets == 1 else "any sets and networks")
    assert 930 <= held <= 970


def test_networks_that_the_distilled_data_have_not_met_are_not_paired() -> None:
    ours, theirs = frame([0.5, 0.7, 0.6], [0, 1, 2]), frame([0.65, 0.3, 0.55], [3, 4, 5])
    expected = stats.ttest_ind(ours["accuracy"], theirs["accuracy"], equal_var=False).confidence_interval(
        0.95
    )
    found = difference(ours, theirs, "accuracy")
    assert found == (pytest.approx(0.1), *map(pytest.approx, expected), "any networks, this set")
    assert difference(ours[:1], theirs[:1], "accuracy")[:3] == (pytest.approx(-0.15), None, None)


def test_networks_of_which_only_some_have_met_are_not_paired() -> None:
    ours, theirs = frame([0.5, 0.7, 0.6], [0, 1, 2]), frame([0.65, 0.3, 0.55], [2, 3, 4])
    welch = stats.ttest_ind(ours["accuracy"], theirs["accuracy"], equal_var=False).confidence_interval(0.95)
    assert difference(ours, theirs, "accuracy")[1:3] == (*map(pytest.approx, welch),)


def test_differences_are_paired_by_network_and_sets_are_clusters() -> None:
    ours = frame([0.5, 0.7, 0.6], [0, 1, 2])
    theirs = frame([0.65, 0.3, 0.55], [1, 0, 2])
    expected = stats.ttest_rel([0.7, 0.5, 0.6], theirs["accuracy"].to_numpy()).confidence_interval(0.95)
    found = difference(ours, theirs, "accuracy")
    assert found == (pytest.approx(0.1), *map(pytest.approx, expected), "any networks, this set")
    theirs = frame([0.65, 0.3, 0.55, 0.45], [1, 0, 2, 0], [0, 1, 0, 1])
    expected = stats.ttest_1samp([(0.05 + 0.05) / 2, (0.2 + 0.05) / 2], 0).confidence_interval(0.95)
    found = difference(ours, theirs, "accuracy")
    assert found == (pytest.approx(0.0875), *map(pytest.approx, expected), "any sets and networks")


def test_each_set_counts_alike_whatever_its_number_of_runs() -> None:
    ours = frame([0.5, 0.5, 0.5], [0, 1, 2])
    theirs = frame([0.1, 0.1, 0.4], [0, 2, 1], [0, 0, 1])
    expected = stats.ttest_1samp([0.4, 0.1], 0).confidence_interval(0.95)
    found = difference(ours, theirs, "accuracy")
    assert found == (pytest.approx(0.25), *map(pytest.approx, expected), "any sets and networks")
    unmet = difference(ours, theirs.assign(network=theirs["network"] + 3), "accuracy")
    assert unmet.mean == pytest.approx(0.25)


def test_what_trains_no_network_is_compared_unpaired() -> None:
    ours, theirs = frame([0.5, 0.7, 0.6], [0, 1, 2]), frame([0.2, 0.4], [None, None], [0, 1])
    welch = stats.ttest_ind(ours["accuracy"], theirs["accuracy"], equal_var=False).confidence_interval(0.95)
    found = difference(ours, theirs, "accuracy")
    assert found == (pytest.approx(0.3), *map(pytest.approx, welch), "any sets and networks")
    sets_alone = stats.ttest_1samp([0.3, 0.1], 0).confidence_interval(0.95)
    found = difference(frame([0.5], [0]), theirs, "accuracy")
    assert found == (pytest.approx(0.2), *map(pytest.approx, sets_alone), "any sets, this network")


def test_as_many_networks_as_sets_are_any_networks() -> None:
    found = difference(frame([0.5, 0.7], [0, 1]), frame([0.2, 0.3], [0, 1], [0, 1]), "accuracy")
    assert found.about == "any sets and networks"


def test_fewer_networks_than_sets_are_not_any_networks() -> None:
    ours = frame([0.5, 0.7], [0, 1])
    found = difference(ours, frame([0.2, 0.3, 0.4], [0, 1, 0], [0, 1, 2]), "accuracy")
    assert found.about == "any sets, these networks"


def test_one_run_has_no_interval() -> None:
    found = difference(frame([0.5], [0]), frame([0.3], [0]), "accuracy")
    assert found == (pytest.approx(0.2), None, None, None)


def test_a_standard_deviation_is_unbiased_and_that_of_one_run_unknown() -> None:
    assert spread(pandas.Series([0.1, 0.3])).std == pytest.approx(math.sqrt(0.02))
    assert spread(pandas.Series([0.1])).model_dump() == {"mean": 0.1, "std": None, "min": 0.1, "max": 0.1}
