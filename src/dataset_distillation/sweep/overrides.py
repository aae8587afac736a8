"""Overrides by their key, and values in quotes."""

from __future__ import annotations

import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dataset_distillation.errors import UserError


def by_key(overrides: list[str]) -> dict[str, str]:
    """Return the values of overrides by key; `distilled={steps:1,epochs:2}` has two keys.

    The key of a group in another place names this, too, as in `dataset@init.source`.
    """
    values: dict[str, str] = {}
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except (HydraException, ValueError, RecursionError) as error:
            raise UserError(f"{text}: not a Hydra override; the file that it is from is damaged") from error
        own, value = override.get_key_element().lstrip("+~"), override.value()
        if isinstance(value, dict):
            values |= {f"{own}.{key}": str(v) for key, v in value.items()}
        else:
            values[own] = text.partition("=")[2]
    return values


def differing(jobs: list[dict[str, str]]) -> list[str]:
    """Return the keys whose values differ between jobs, in order of appearance."""
    keys = dict.fromkeys(key for overrides in jobs for key in overrides)
    return [key for key in keys if len({overrides.get(key) for overrides in jobs if overrides}) > 1]


def literal(value: str) -> str:
    """Return `value` in which `${` is text.

    OmegaConf reads it as an interpolation, unless a backslash precedes it, and halves the backslashes before.
    """
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)


def quoted(value: str) -> str:
    """Return `value` as Hydra reads it in an override; its parser halves the backslashes before a quote."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), literal(value))
    return f"'{escaped}'"
