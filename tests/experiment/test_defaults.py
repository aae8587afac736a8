"""Defaults stand in the dataclasses, for Python, and in conf/, which shows them: each key is compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from omegaconf import OmegaConf

from dataset_distillation.evaluation.options import Evaluation
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.compose import GROUPS, kinds_of
from dataset_distillation.experiment.tree import Evaluate, Experiment

#: The file that shows the defaults of a group with one dataclass.
SHOWN = {
    "distilled": "default", "outer": "adam", "evaluation": "quick", "trainer": "default", "training": "ours",
}  # fmt: skip
#: What conf/ fills in by a group of its own.
WITHIN = {("init", "source"), ("logger", "loggers")}


def default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def pairs() -> Iterator[tuple[str, str, type]]:
    """(group, choice, dataclass) of all that a user chooses by its own name."""
    for group in GROUPS:
        for kind in kinds_of(group):
            if (choice := kind.__module__.rpartition(".")[2]) in choices(group):
                yield group, choice, kind
    fields = {field.name: field for field in dataclasses.fields(Evaluate)}
    for group, choice in SHOWN.items():
        yield group, choice, type(default(fields[group]))


def shown(group: str, choice: str) -> dict[str, Any]:
    """The values of a file in conf/, as they are where no environment variable is set."""
    text = (files("dataset_distillation.conf") / group / f"{choice}.yaml").read_text(encoding="utf-8")
    content = {"evaluation": dataclasses.asdict(Evaluation()), "node": OmegaConf.create(text)}
    resolved: Any = OmegaConf.to_container(OmegaConf.create(content), resolve=True)
    return resolved["node"]


def compare(kind: type, node: dict[str, Any], group: str) -> None:
    fields = {field.name: default(field) for field in dataclasses.fields(kind)}
    assert node.keys() - {"defaults"} == {name for name in fields if (group, name) not in WITHIN}
    for name, value in fields.items():
        if dataclasses.is_dataclass(value):
            compare(type(value), node[name], group)
        elif (group, name) not in WITHIN:
            assert node[name] == value, name


@pytest.mark.parametrize(("group", "choice", "kind"), list(pairs()))
def test_conf_shows_the_default_of_every_field(
    group: str, choice: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("DATA_DIR", "POOL_DIR"):
        monkeypatch.delenv(variable, raising=False)
    compare(kind, shown(group, choice), group)


def test_every_group_has_its_defaults_shown() -> None:
    compared = {group for group, _, _ in pairs()}
    assert compared == {field.name for field in dataclasses.fields(Experiment)} - {"seed"}


def test_evaluate_yaml_shows_what_distill_evaluate_adds() -> None:
    text = (files("dataset_distillation.conf") / "evaluate.yaml").read_text(encoding="utf-8")
    node = OmegaConf.to_container(OmegaConf.create(text))
    own = {field.name: default(field) for field in dataclasses.fields(Evaluate)}
    own = {name: own[name] for name in own.keys() - {field.name for field in dataclasses.fields(Experiment)}}
    assert {**node, "defaults": None} == {**own, "defaults": None}
