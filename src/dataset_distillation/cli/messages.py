"""Errors in one line."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import sys
import traceback
from typing import NoReturn

from hydra.core.override_parser.overrides_parser import create_functions
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from dataset_distillation.errors import ConfigError, NoFile, UserError, install, program
from dataset_distillation.sweep.overrides import quoted

#: Keys that hold a choice of a group, and how they are set.
GROUPED = {
    "init.source": "dataset@init.source=usps",
    "training.augmentation": "+augmentation@training.augmentation=dsa; without + if training=dc, dsa or mtt",
    "training.optimizer": "+inner_optimizer@training.optimizer=adam; without + if training=dc, dsa or mtt",
}

#: The errors that a wrong command line can raise; Hydra raises ValueError for `dataset=null`.
EXPECTED = (UserError, HydraException, OmegaConfBaseException, OSError, ValueError)

#: The packages of launchers and sweepers, and of the database of a search.
LAUNCHING = ("hydra_plugins", "submitit", "joblib", "optuna", "sqlalchemy")


class Arguments(argparse.ArgumentParser):
    """A parser whose errors are one line, as those of Hydra's programs are here."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def complain(error: BaseException) -> int:
    if isinstance(error, BrokenPipeError):
        raise error  # the program's end knows whether it is that of its own output
    print(f"{program()}: {one_line(error)}", file=sys.stderr)
    if isinstance(error, NoFile):  # the command names a file that does not exist
        return ConfigError.exit_code
    if isinstance(error, UserError):
        return error.exit_code
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return UserError.exit_code
    return ConfigError.exit_code


def of_hydra(error: Exception) -> UserError | None:
    """Return what an error of another type, which arose in Hydra or in a launcher, means; None for others."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    told = " ".join(f"{type(error).__name__}: {error}".split())
    if package in ("hydra", "omegaconf", "antlr4"):
        return ConfigError(told)
    return UserError(told) if package in LAUNCHING else None


def one_line(error: BaseException) -> str:
    """Errors of Hydra and OmegaConf have several lines; return the one that helps the user."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        extra = {"hydra/launcher": "cluster", "hydra/sweeper": "search"}.get(group)
        more = f"; for others, {install(extra)}" if extra else ""
        return f"{group}={choice}: must be one of {', '.join(sorted(error.options))}{more}"
    if isinstance(error, OverrideParseException) and (line := _unquoted(error.override)):
        return line
    if line := _of_file(error):
        return line
    cause = error.__cause__
    if not isinstance(cause, OmegaConfBaseException) or not cause.full_key:
        return " ".join(str(error).split())
    if cause.full_key in GROUPED:
        return f"{cause.full_key}: is set as a group; for example {GROUPED[cause.full_key]}"
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        return f"{cause.full_key}: no such key{_hint(cause)}"
    text = str(cause).splitlines()[0]
    if of_enum := re.fullmatch(r"Invalid value '(.*)', expected one of \[(.*)\]", text):
        options = ", ".join(sorted(of_enum[2].split(", ")))
        return f"{cause.full_key}={of_enum[1]}: must be one of {options}"
    return f"{cause.full_key}: {text}"


def _of_file(error: BaseException) -> str | None:
    """The line for a file, mostly an experiment, that sets an unknown key; None for other errors."""
    in_file, cause = re.match("In '(.+)': ", str(error)), error.__context__
    if not in_file or not isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        return None
    line = f"{cause.full_key}: is set by {in_file[1].replace('/', '=')}, but there is no such key"
    group = str(cause.full_key).rpartition(".")[0]
    if not group or _meant(cause):
        return line + _hint(cause)
    return f"{line} in the chosen {group}{_hint(cause)}; choose another {group}, or correct the file"


def _unquoted(override: str) -> str | None:
    """What to type for an override whose value Hydra cannot read; None if it is no single value."""
    key, equals, value = override.partition("=")
    if not equals or not value or value[0] in "[{'\"" or not re.fullmatch(r"[+~]*[\w@./]+", key):
        return None
    if value.partition("(")[0] in create_functions().functions:  # as choice(1,2), of which Hydra says more
        return None
    if value.startswith("~/"):  # which a shell replaces at the beginning of a word alone
        return f"{override}: ~ stands for no folder in a config; type {key}=$HOME/{value[2:]}"
    again = f"{key}={quoted(value)}"
    again = shlex.quote(again) if set(again) & set('"$`\\!') else f'"{again}"'
    return f"{override}: Hydra cannot read the value without quotes of its own; type {again}"


def _keys(cause: OmegaConfBaseException) -> list[str]:
    return [str(key) for key in cause.parent_node] if isinstance(cause.parent_node, DictConfig) else []


def _meant(cause: OmegaConfBaseException) -> list[str]:
    return difflib.get_close_matches(str(cause.key), _keys(cause), 1)


def _hint(cause: OmegaConfBaseException) -> str:
    """The key that was probably meant, or else all keys."""
    if meant := _meant(cause):
        return f"; did you mean {meant[0]}?"
    return f"; the keys are {', '.join(_keys(cause))}" if _keys(cause) else ""
