"""The resolved values that a run depends on: their hash, and their differences from an earlier run.

A value at its default counts as absent. So if a later version adds an option whose default is the earlier
behavior, neither changes: old checkpoints can be resumed and finished runs stay finished. If a default
changes, the field says what its absence means: `field(default=new, metadata={"absent": old})`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from dataset_distillation.errors import choice_of
from dataset_distillation.experiment.tree import Experiment


def digest(e: Experiment) -> str:
    """SHA-256 of all values that differ from their defaults, and of the kind of each choice."""
    values = {key: value for key, value, absent in _values(e) if value != absent}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def differences(e: Experiment, here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return `key=value (it has other)` for each key whose values in two configs differ.

    here: the resolved config of `e`.
    there: the config of another run; a key that it lacks has the value that its absence means.
    """
    absent = {key: default for key, _, default in _values(e)}
    own, other = dict(_flat(here)), dict(_flat(there))
    pairs = {key: (own.get(key), other.get(key, absent.get(key))) for key in dict.fromkeys([*own, *other])}
    return [f"{key}={value} (it has {its})" for key, (value, its) in pairs.items() if value != its]


def _values(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (key, value, what its absence means) of each field in the tree, and the kind of each choice."""
    for field in fields(node):
        key, value = f"{prefix}{field.name}", getattr(node, field.name)
        if is_dataclass(value):
            yield key, choice_of(value), None
            yield from _values(value, f"{key}.")
        elif isinstance(value, dict) and any(map(is_dataclass, value.values())):
            for name, child in value.items():
                yield from _values(child, f"{key}.{name}.")
        else:
            yield key, value, _absent(field)


def _absent(field: Field[Any]) -> Any:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return field.metadata.get("absent", default)


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
