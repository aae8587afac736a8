"""The errors that a user sees: one line, without a traceback."""

from __future__ import annotations

import importlib
import operator
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


class UserError(Exception):
    """Something outside the program is wrong (a file, a folder, the network); exit code 1.

    The message is one line that any terminal can show, whatever is in the names and values of others.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class FileError(UserError):
    """A file cannot be read, or does not hold what it should; the message begins with its path."""


class NoFile(FileError):
    """There is no such file."""


class ConfigError(UserError):
    """A value or a combination of values in the configuration is wrong; exit code 2."""

    exit_code = 2


def printable(text: str) -> str:
    """Return `text` with escapes for line ends, control characters and halves of surrogate pairs."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def short(value: object, most: int = 300) -> str:
    """Return `value` as printable text of about `most` characters at most."""
    text = printable(str(value)[: most + 1])
    return text if len(text) <= most else f"{text[:most]}…"


def damaged(path: Path | str, what: str, reason: object) -> FileError:
    """Return the error about a file that is not `what` its name says."""
    return FileError(f"{path}: not {what}, or damaged ({short(' '.join(str(reason).split()))})")


def refuse(key: str, value: object, allowed: str, remedy: str = "") -> ConfigError:
    """Return a configuration error in its one form: the key, its value, what is allowed, what to do."""
    return ConfigError(f"{key}={short(value)}: {allowed}" + (f"; {remedy}" if remedy else ""))


def install(extra: str) -> str:
    """Return what to type to have the packages of an extra of this project."""
    return f"pip install 'dataset-distillation[{extra}]'"


def one_of(key: str, value: str, options: Iterable[str]) -> None:
    """Raise ConfigError unless `value` is among `options`."""
    if value not in (options := sorted(options)):
        raise refuse(key, value, f"must be one of {', '.join(options)}")


def member(key: str, value: str, kind: type[E]) -> E:
    """Return the member of `kind` with the value `value`.

    Raises ConfigError if there is none.
    """
    one_of(key, value, [option.value for option in kind])
    return kind(value)


def instance(name: str, value: object, *kinds: type) -> None:
    """Raise UserError unless the argument `name` of a function is an object of one of the `kinds`."""
    if not isinstance(value, kinds):
        what = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        allowed = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{name} is {what}: must be an object of the type {allowed}")


def positive(key: str, value: float) -> None:
    """Raise ConfigError unless 0 < `value` < infinity."""
    if not 0 < value < float("inf"):
        raise refuse(key, value, "must be greater than 0")


def integer(key: str, value: Any) -> int:
    """Return `value` as a Python int, whatever integer it is: JSON does not know those of numpy.

    Raises ConfigError if it is none.
    """
    try:
        return operator.index(value)
    except TypeError as error:
        raise refuse(key, value, "must be an integer") from error


def single_precision(key: str, value: float) -> None:
    """Raise ConfigError for a number that single precision rounds to 0 or infinity, or nearly so."""
    if value and not 1e-30 <= abs(value) <= 1e30:
        raise refuse(key, value, "must be 0, or in size from 1e-30 to 1e30")


def at_least(key: str, value: float, least: float) -> None:
    """Raise ConfigError unless `least` <= `value` < infinity."""
    if not least <= value < float("inf"):
        raise refuse(key, value, f"must be {least:g} or more")


def given(key: str, value: str) -> str:
    """Return `value`. Raises ConfigError if it is empty, like that of a shell variable that is not set."""
    if not value.strip():
        raise refuse(key, value, "is empty", "give a value, or leave the key out")
    return value


def count(default: int | None, most: int, least: int = 1, **metadata: Any) -> Any:
    """A field of options that counts something, from `least` to `most`; or None, if that is a default.

    `most` is more than anybody needs, and less than what no machine could hold or finish. What several counts
    take together is compared with the free memory before it is allocated (run/machine.py).
    """
    return field(default=default, metadata={"count": (least, most), **metadata})


def check_counts(prefix: str, options: Any) -> None:
    """Raise ConfigError unless each `count` of the dataclass `options` is an integer within its limits."""
    for each in fields(options):
        value: Any = getattr(options, each.name)
        if "count" not in each.metadata or value is None:
            continue
        key, (least, most) = f"{prefix}.{each.name}", each.metadata["count"]
        if (number := integer(key, value)) is not value:
            setattr(options, each.name, number)
        if value < least:
            raise refuse(key, value, f"must be {least} or more" if least != 1 else "must be greater than 0")
        if value > most:
            raise refuse(key, value, f"must be at most {most}")


def choice_of(option: object) -> str:
    """Return the name of `option` among the choices of its group, as in `init=random`: its module's name."""
    return type(option).__module__.rpartition(".")[2]


def chosen_by_name(
    package: str, path: Iterable[str], kind: type[T], name: str, options: Mapping[str, Any]
) -> T:
    """Return the choice `name` of a group: the dataclass derived from `kind` in that file of `package`.

    Raises ValueError if there is none, or none with such options.
    """
    group = package.rpartition(".")[2].rstrip("s").replace("_", " ")
    if name not in {module.name for module in pkgutil.iter_modules(path)}:
        raise ValueError(f"unknown {group} {name!r}")
    importlib.import_module(f"{package}.{name}")
    [choice] = [choice for choice in descendants(kind) if choice.__module__ == f"{package}.{name}"]
    if unknown := options.keys() - {field.name for field in fields(choice)}:
        raise ValueError(f"unknown options of {group} {name!r}: {', '.join(sorted(unknown))}")
    chosen: T = choice(**options)
    return chosen


def descendants(kind: type) -> Iterator[Any]:
    """Yield the classes that derive from `kind`, as far as they have been imported."""
    child: type
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def first_problem(error: ValidationError) -> str:
    """Return the first thing that pydantic found wrong, in one line: where it is, and what."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return " ".join(f"{where}: {first['msg']}".split()).removeprefix(": ")


def program() -> str:
    """Return the command that runs, for messages; `distill` in the worker process of a launcher."""
    name = Path(sys.argv[0]).name
    return name if name.startswith("distill") else "distill"
