"""Imports the user's own code: `path=my_package.my_module:attribute`."""

from __future__ import annotations

import os
import pkgutil
import sys
from typing import Any

from dataset_distillation.errors import UserError, refuse

#: What an error of the user's code looks like. `sys.exit` in it does not end the run as if it were finished,
#: and a KeyboardInterrupt that it raises is no Ctrl-C, which raises Interrupted.
ERRORS = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)


def load(key: str, path: str) -> Any:
    """Return the object that `path`, package.module:attribute, names; the current folder is importable.

    `key` is the configuration key for error messages. Raises ConfigError, with a message of one line, if
    there is no such object.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise refuse(key, path, "must be <module>:<attribute>", "for example my_package.my_module:my_name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = pkgutil.resolve_name(f"{module_name}:")
    except ERRORS as error:
        raise _not_imported(key, path, module_name, error) from error
    try:
        return pkgutil.resolve_name(path)
    except AttributeError as error:
        raise refuse(key, path, f"module {module_name} ({module.__file__}) has no {attribute}") from error


def call(path: str, function: Any, *inputs: Any, **arguments: Any) -> Any:
    """Return `function(*inputs, **arguments)`; an exception becomes a one-line UserError naming `path`."""
    try:
        return function(*inputs, **arguments)
    except ERRORS as error:
        raise UserError(f"{path} raised {describe(error)}") from error


def describe(error: BaseException) -> str:
    """The type and the message of `error`, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _not_imported(key: str, path: str, module_name: str, error: BaseException) -> UserError:
    if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
        remedy = f"install it or start in its folder, not {os.getcwd()}"
        return refuse(key, path, f"no module {error.name}", remedy)
    return refuse(key, path, f"importing {module_name} raised {describe(error)}")
