"""What a run depends on: an option that a later version adds changes neither digest nor comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass, replace

import pytest
from omegaconf import DictConfig

from dataset_distillation.experiment.compose import read, resolved
from dataset_distillation.experiment.digest import differences, digest
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.options import Outer

Make = Callable[..., Experiment]
Compose = Callable[[list[str]], DictConfig]


@dataclass
class Later(Outer):
    """The options as a later version has them: one more, and another default."""

    imagined: float = 0.0
    batch_size: int = field(default=512, metadata={"absent": 256})


Later.__module__ = Outer.__module__  # as a later version of the same file


def test_a_new_option_at_its_default_leaves_the_digest(experiment: Make) -> None:
    e = experiment("outer.batch_size=256")
    more = make_dataclass("More", [("imagined", float, field(default=0.0))], bases=(Outer,))
    more.__module__ = Outer.__module__  # as a later version of the same file
    before = digest(e)
    values = vars(e.outer)
    assert digest(replace(e, outer=more(**values))) == before
    assert digest(replace(e, outer=more(**values, imagined=0.9))) != before


def test_a_default_that_changes_keeps_its_meaning_for_old_records(experiment: Make) -> None:
    """`batch_size` was 256 by default and is 512: what an old run left out is 256."""
    e = experiment("outer.batch_size=256")
    old = digest(e)
    values = {**vars(e.outer)}
    assert digest(replace(e, outer=Later(**values))) == old
    assert digest(replace(e, outer=Later(**{**values, "batch_size": 512}))) != old


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "outer.learning_rate=0.5",
        "architecture=mlp",
        "init=fixed",
        "inner_optimizer=adam",
        "unroll=recompute",
    ],
)
def test_whatever_else_changes_changes_the_digest(override: str, experiment: Make) -> None:
    assert digest(experiment(override)) != digest(experiment())


def test_another_choice_is_told_without_its_options(composed: Compose) -> None:
    config = composed(["dataset=digits", "architecture=mlp", "logger=none"])
    e, here = read(config), resolved(config)
    there = resolved(composed(["dataset=digits", "logger=none"]))
    choices = {"experiment": "demo", "architecture": "mlp", "augmentation": "none", "init": "random"}
    earlier = {"experiment": "null", "architecture": "lenet", "init": "random"}
    told = ["architecture=mlp (it has lenet)"]
    assert differences(e, here, there, choices, earlier) == told
    del there["augmentation"]  # as in runs before that group
    assert differences(e, here, there, choices, earlier) == told
    changed = differences(e, here, there, choices | {"augmentation": "dsa"}, earlier)
    assert changed == [*told, "augmentation=dsa (it has none)"]


def test_a_record_without_a_key_has_its_default(composed: Compose) -> None:
    config = composed(["dataset=digits", "outer.clip=0.5", "logger=none"])
    e, here = read(config), resolved(config)
    there = {**here, "outer": {key: value for key, value in here["outer"].items() if key != "schedule"}}
    assert differences(e, here, there) == []
    there["outer"] = {**there["outer"], "clip": 1.0}
    assert differences(e, here, there) == ["outer.clip=0.5 (it has 1.0)"]
    del there["outer"]["clip"]  # of which the default is 1.0
    assert differences(e, here, there) == ["outer.clip=0.5 (it has 1.0)"]
