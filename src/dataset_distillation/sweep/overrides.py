"""What was typed: overrides by their key."""

from __future__ import annotations

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dataset_distillation.errors import UserError


def by_key(overrides: list[str]) -> dict[str, str]:
    """Overrides by key; `distilled={steps:1,epochs:2}` has two."""
    found: dict[str, str] = {}
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise UserError(f"{text}: no override of Hydra's; the file that it is from is damaged") from error
        value = override.value()
        if isinstance(value, dict):
            found |= {f"{override.key_or_group}.{key}": str(v) for key, v in value.items()}
        else:
            found[override.key_or_group] = text.partition("=")[2]
    return found


def differing(given: list[dict[str, str]]) -> list[str]:
    """The keys whose values differ, in the order in which they were given."""
    keys = dict.fromkeys(key for overrides in given for key in overrides)
    return [key for key in keys if len({overrides.get(key) for overrides in given if overrides}) > 1]
