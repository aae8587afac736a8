"""The jobs of a multirun: expanded once, in Hydra's own order, and counted before."""

from __future__ import annotations

import time

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from dataset_distillation.errors import ConfigError
from dataset_distillation.sweep.expansion import Expansion


def parsed(*lines: str) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(lines))


def hydras(*lines: str) -> list[list[str]]:
    """The jobs that Hydra's own sweeper makes of these overrides."""
    [jobs] = BasicSweeper.split_arguments(parsed(*lines), max_batch_size=None)
    return jobs


@pytest.mark.parametrize(
    "lines",
    [
        ["seed=0,1,2", "distilled.steps=5", "outer.learning_rate=0.1,0.2"],
        ["seed=0,1", "seed=2,3,4", "a=1"],
        ["seed=range(1,9,3)", "a=range(0,1,0.25)", "b=range(3,0,-1)", "c=sort(3,1,2)"],
        ["distilled={steps:1,epochs:2},{steps:5,epochs:2}", "a=[1,2],[3]"],
        [r"""a='x,y',"it's",x\ y,a\\b,'é'""", "b='a${c}'", "c=", "~d", "+e=1", "++f=choice(1)"],
        ["seed=1"],
        [],
    ],
)  # fmt: skip
def test_the_jobs_are_those_of_hydra_and_what_it_is_given_has_the_same(lines: list[str]) -> None:
    expansion = Expansion.of(parsed(*lines))
    assert expansion.jobs == hydras(*lines)
    assert hydras(*expansion.arguments) == expansion.jobs


def test_a_shuffled_sweep_has_the_same_order_for_hydra_and_each_time() -> None:
    lines = ["seed=shuffle(range(0,20))", "a=shuffle(1,2,3,4,5,6)"]
    expansion = Expansion.of(parsed(*lines))
    assert hydras(*expansion.arguments) == expansion.jobs == Expansion.of(parsed(*lines)).jobs
    seeds = [int(value) for value in expansion.values["seed"]]
    assert seeds != sorted(seeds) == list(range(20))


def test_keys_of_hydra_are_no_part_of_a_job() -> None:
    assert Expansion.of(parsed("seed=1,2", "hydra.verbose=true")).jobs == [["seed=1"], ["seed=2"]]


def test_of_many_jobs_each_value_is_tried_once() -> None:
    grid = Expansion.of(parsed("a=range(0,30)", "b=range(0,20)"))
    tried = [grid.jobs[number] for number in grid.typical()]
    assert len(tried) == 30 + 20 - 1
    assert {value for job in tried for value in job} == {value for job in grid.jobs for value in job}
    assert len(Expansion.of(parsed("a=range(0,1000)")).typical()) == 100
    assert Expansion.of(parsed("a=1,2", "b=3,4")).typical() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["seed=range(0,0)"], r"seed=range\(0,0\): has no values"),
        (["a=1,2", "seed=range(5,1)"], r"seed=range\(5,1\): has no values"),
        (["seed=range(0,10,0)"], "a step other than 0"),
        (["seed=range(0,inf)"], "finite ends"),
        (["seed=interval(0,1)"], "only a search"),
        (["seed=range(0,1000000000)"], "1000000000 jobs, and 10000 are allowed"),
        (["seed=shuffle(range(0,1e12,1))"], "1000000000000 jobs"),
        (["a=range(0,101)", "b=range(0,100)"], "10100 jobs"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_it_is_expanded(lines: list[str], told: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError, match=told):
        Expansion.of(parsed(*lines))
    assert time.process_time() - began < 1
