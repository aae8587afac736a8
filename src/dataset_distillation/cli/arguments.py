"""Arguments that are not of the form key=value: what was probably meant, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from dataset_distillation.errors import ConfigError, program, short
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.compose import GROUP_NAMES, GROUPS, kinds_of
from dataset_distillation.experiment.tree import Evaluate

#: Hydra's own flags, and those of them that a value follows.
FLAGS = {
    "--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--run", "-r",
    "--multirun", "-m", "--shell-completion", "-sc", "--config-path", "-cp", "--config-name", "-cn",
    "--config-dir", "-cd", "--info", "-i",
}  # fmt: skip
VALUED = {
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
    "--info", "-i",
}  # fmt: skip
FORM = "values are given as key=value; {0} --help shows the groups, and {0} --cfg job every key"


def check(arguments: list[str]) -> None:
    """Raise ConfigError for the first argument that is neither key=value nor a flag of Hydra.

    Hydra has another flag, --experimental-rerun, which would run the code in a file.
    """
    before = ""
    for argument, after in zip_longest(arguments, arguments[1:], fillvalue=""):
        flag = argument.partition("=")[0]
        if argument.startswith("-") and flag not in FLAGS:
            raise _option(argument, "" if "=" in argument or after.startswith("-") else after)
        plain = not argument.startswith(("-", "~")) and "=" not in argument
        if plain and argument.strip() and before not in VALUED:
            raise _word(argument)
        before = argument
    parser = get_args_parser()
    vars(parser)["error"] = _refuse  # in one line, without all of the usage
    parser.parse_args(flags_first(arguments))


def flags_first(arguments: list[str]) -> list[str]:
    """Return the flags with their values, and then the others: Hydra wants all overrides side by side."""
    # A last flag that lacks its value must not take another argument as such.
    if arguments and arguments[-1] in VALUED:
        return arguments
    valued = {i + 1 for i, argument in enumerate(arguments) if argument in VALUED}
    order = sorted(range(len(arguments)), key=lambda i: i not in valued and not arguments[i].startswith("-"))
    return [arguments[i] for i in order]


def _refuse(message: str) -> NoReturn:
    raise ConfigError(message)


def _option(argument: str, after: str) -> ConfigError:
    """`--steps 10` or `--steps=10`."""
    name, _, value = argument.lstrip("-").partition("=")
    value, typed = value or after, f"{argument} {after}".strip()
    key = name.replace("-", "_")
    keys = dict.fromkeys(_keys())
    meant = [each for each in keys if key in (each, each.rpartition(".")[2])]
    if not meant:
        last = {each.rpartition(".")[2]: each for each in keys}
        meant = [last[each] for each in difflib.get_close_matches(key, last, 1)]
    return _refused(typed, [f"{each}={value or '...'}" for each in meant])


def _word(argument: str) -> ConfigError:
    """`mnist`, or the path of something."""
    named = [f"{group}={argument}" for group in GROUP_NAMES if argument in choices(group)]
    path = Path(argument)
    if not named and path.suffix == ".safetensors":
        judged = f"artifact={argument}"
        return _refused(argument, [judged if program() != "distill" else f"distill-evaluate {judged}"])
    if not named and path.is_dir():
        named = [f"dataset=image_folder dataset.path={argument}"]
    if not named:
        known = {choice: group for group in GROUP_NAMES for choice in choices(group)}
        close = difflib.get_close_matches(argument.lower(), known, 1)
        named = [f"{known[choice]}={choice}" for choice in close]
    return _refused(argument, named)


def _refused(typed: str, meant: list[str]) -> ConfigError:
    told = f"did you mean {' or '.join(meant[:3])}? " if meant else ""
    return ConfigError(f"{short(typed)}: {told}{FORM.format(program())}")


def _keys() -> Iterator[str]:
    """Every key of an experiment, those of `distilled` first, which are asked for most."""
    kinds = {field.name: field for field in fields(Evaluate)}
    for name in sorted(kinds, key=lambda name: (name != "distilled", name)):
        yield name
        for kind in kinds_of(name) if name in GROUPS else [kinds[name].default_factory]:
            if isinstance(kind, type) and is_dataclass(kind):
                yield from (f"{name}.{field.name}" for field in fields(kind))
