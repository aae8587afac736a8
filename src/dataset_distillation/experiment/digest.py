"""What a run depends on, as resolved values: in one hash, and beside that of an earlier run.

A value at its default counts as absent. So an option that a later version adds, whose default is what was
done before, changes neither: old checkpoints go on and finished runs stay finished. Where a default changes,
the field says what its absence means: `field(default=new, metadata={"absent": old})`.
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
    """SHA-256 over all that differs from its default, and the kind of each choice."""
    given = {key: value for key, value, absent in _values(e) if value != absent}
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


def differences(e: Experiment, here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """`key=value (it has other)` for each key of two configs, `here` that of `e`, that has two values.

    A key that `there` does not have has the value that its absence means.
    """
    absent = {key: default for key, _, default in _values(e)}
    mine, other = dict(_flat(here)), dict(_flat(there))
    pairs = {key: (mine.get(key), other.get(key, absent.get(key))) for key in dict.fromkeys([*mine, *other])}
    return [f"{key}={value} (it has {its})" for key, (value, its) in pairs.items() if value != its]


def _values(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, value, what its absence means) of each field in the tree, and the kind of each choice."""
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
