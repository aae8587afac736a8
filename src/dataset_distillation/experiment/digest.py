"""The resolved values that a run depends on: their hash, and their differences from an earlier run.

A value at its default counts as absent. So if a later version adds an option whose default is the earlier
behavior, neither changes: old checkpoints can be resumed and finished runs stay finished. If a default
changes, or if that of a new option is not the earlier behavior, the field says what its absence means:
`field(default=new, metadata={"absent": old})`; a run or an artifact without the key keeps `old`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dataset_distillation.errors import choice_of
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.run.attempts import JUDGES, LIMITS, flat, other_choices, raised


def digest(e: Experiment, without: Collection[str] = (*LIMITS, *JUDGES)) -> str:
    """SHA-256 of all values that differ from their defaults, and of the kind of each choice.

    without: the keys that may change when a run goes on; older versions had fewer.
    """
    values = {key: value for key, value, absent in _values(e) if value != absent and key not in without}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def differences(
    e: Experiment,
    here: Mapping[str, Any],
    there: Mapping[str, Any],
    choices: Mapping[str, str] = {},
    earlier: Mapping[str, str] = {},
    but: Collection[str] = (),
) -> list[str]:
    """Return `key=value (it has other)` for each group whose choices and each key whose values differ.

    here, choices: the resolved config of `e`, and the choice of each group.
    there, earlier: those of another run; a key that it lacks has the value that its absence means, and limits
        may be lower than here. Groups whose choice is not known there are not compared.
    but: keys that are not compared.
    """
    known = {group: choice for group, choice in absences(type(e)).items() if group not in there}
    others = other_choices(choices, {**known, **earlier})
    below = tuple(f"{group.rpartition('@')[2]}." for group in others)  # the options of other choices
    absent = {key: default for key, _, default in _values(e)}
    own, other = dict(flat(here)), dict(flat(there))
    pairs = {key: (own.get(key), other.get(key, absent.get(key))) for key in dict.fromkeys([*own, *other])}
    changed = {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and not raised(key, *pair)}
    kept = {key: pair for key, pair in changed.items() if key not in but and not key.startswith(below)}
    changed = {**others, **kept}
    return [f"{key}={value} (it has {its})" for key, (value, its) in changed.items()]


def absences(kind: type) -> dict[str, Any]:
    """Return what the absence of each field of the dataclass `kind` means, if it is not the default."""
    return {f.name: f.metadata["absent"] for f in fields(kind) if "absent" in f.metadata}


def adopt(config: DictConfig, there: Mapping[str, Any]) -> None:
    """Give the keys of `config` that `there`, the config of an earlier run, lacks the meaning that it had.

    The choice of a group that it lacks stays: `differences` compares it.
    """
    kind = OmegaConf.get_type(config)
    for key, value in absences(kind).items() if is_dataclass(kind) else ():
        if key not in there and not isinstance(config.get(key), DictConfig):
            config[key] = value
    for key, child in there.items():
        if isinstance(child, Mapping) and isinstance(own := config.get(key), DictConfig):
            adopt(own, child)


def _values(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (key, value, what its absence means) of each field in the tree, and the kind of each choice."""
    for field in fields(node):
        key, value = f"{prefix}{field.name}", getattr(node, field.name)
        if is_dataclass(value):
            yield key, choice_of(value), field.metadata.get("absent")
            yield from _values(value, f"{key}.")
        elif isinstance(value, dict) and any(map(is_dataclass, value.values())):
            for name, child in value.items():
                yield from _values(child, f"{key}.{name}.")
        else:
            yield key, value, _absent(field)


def _absent(field: Field[Any]) -> Any:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return field.metadata.get("absent", default)
