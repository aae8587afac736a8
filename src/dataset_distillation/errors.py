"""What a user reads when something is wrong: one line, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

E = TypeVar("E", bound=StrEnum)


class UserError(Exception):
    """Something outside the program is wrong (a file, a folder, the network). Exit code 1."""

    exit_code = 1


class ConfigError(UserError):
    """A value or a combination of values in the configuration is wrong. Exit code 2."""

    exit_code = 2


def refuse(key: str, value: object, allowed: str, remedy: str = "") -> ConfigError:
    """The one form of every configuration error: the key, the value it got, what is allowed, what to do."""
    return ConfigError(f"{key}={value}: {allowed}" + (f"; {remedy}" if remedy else ""))


def one_of(key: str, value: str, options: Iterable[str]) -> None:
    """Raise ConfigError unless `value` is among `options`."""
    if value not in (options := sorted(options)):
        raise refuse(key, value, f"must be one of {', '.join(options)}")


def member(key: str, value: str, kind: type[E]) -> E:
    """The member of `kind` that is called `value`. Raises ConfigError if there is none."""
    one_of(key, value, [option.value for option in kind])
    return kind(value)


def positive(key: str, value: float) -> None:
    """Raise ConfigError unless 0 < `value` < infinity."""
    if not 0 < value < float("inf"):
        raise refuse(key, value, "must be greater than 0")


def choice_of(option: object) -> str:
    """The name of `option` among the choices of its group, as in `init=random`: that of its file."""
    return type(option).__module__.rpartition(".")[2]


def program() -> str:
    """The command that runs, for messages; a worker process of a launcher does its work for `distill`."""
    name = Path(sys.argv[0]).name
    return name if name.startswith("distill") else "distill"
