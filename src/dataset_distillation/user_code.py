"""Imports the user's own code: `path=my_package.my_module:attribute`, or `path=my_file.py:attribute`."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from dataset_distillation.errors import UserError, refuse

#: What an error of the user's code looks like. `sys.exit` in it does not end the run as if it were finished,
#: and a KeyboardInterrupt that it raises is no Ctrl-C, which raises Interrupted.
ERRORS = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)


def load(key: str, path: str) -> Any:
    """Return the object that `path` names, package.module:attribute or folder/file.py:attribute.

    The current folder is importable, and so is that of the file, as if the file were run.

    `key` is the configuration key for error messages. Raises ConfigError, with a message of one line, if
    there is no such object.
    """
    place, _, attribute = path.rpartition(":")
    if not place or not attribute:
        example = "for example my_package.my_module:my_name or my_file.py:my_name"
        raise refuse(key, path, "must be <module>:<attribute> or <file.py>:<attribute>", example)
    module = _file(key, path, _path_of(place)) if _is_file(place) else _module(key, path, place)
    try:
        return functools.reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        what = module.__name__ if module.__file__ is None else f"{module.__name__} ({module.__file__})"
        raise refuse(key, path, f"module {what} has no {attribute}") from error


def module_of(path: str) -> str:
    """Return the name of the module that `load` imports for `path`."""
    place, _, _ = path.rpartition(":")
    return _path_of(place).stem if _is_file(place) else place


def checksum(modules: Iterable[str]) -> str:
    """Return the SHA-256 of what imported modules do: of their source without comments and docstrings."""
    return hashlib.sha256("".join(_statements(sys.modules[name]) for name in modules).encode()).hexdigest()


def call(path: str, function: Any, *inputs: Any, **arguments: Any) -> Any:
    """Return `function(*inputs, **arguments)`; an exception becomes a one-line UserError naming `path`."""
    try:
        return function(*inputs, **arguments)
    except ERRORS as error:
        raise UserError(f"{path} raised {describe(error)}") from error


def describe(error: BaseException) -> str:
    """The type and the message of `error`, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _is_file(place: str) -> bool:
    return place.endswith(".py") or os.sep in place


def _path_of(place: str) -> Path:
    return Path(place).expanduser().absolute()


def _module(key: str, path: str, name: str) -> ModuleType:
    _importable(Path.cwd())
    return _imported(key, path, name)


def _file(key: str, path: str, file: Path) -> ModuleType:
    """Import a file under its own name, so that worker processes find it, too."""
    if not file.is_file():
        raise refuse(key, path, f"no file {file}")
    if not file.name.endswith(".py") or "." in file.stem:
        raise refuse(key, path, "must be a file of Python with no other dot in its name, as in nets.py")
    _importable(file.parent)
    module = _imported(key, path, file.stem)
    if module.__file__ is None or not file.samefile(module.__file__):
        other = f"another module has the name {file.stem}: {module.__file__}"
        raise refuse(key, path, other, "rename the file")
    return module


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _imported(key: str, path: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ERRORS as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            remedy = f"install it or start in its folder, not {os.getcwd()}"
            raise refuse(key, path, f"no module {error.name}", remedy) from error
        raise refuse(key, path, f"importing {name} raised {describe(error)}") from error


def _statements(module: ModuleType) -> str:
    """The source of `module` without comments and docstrings; empty if it has none, as in a notebook."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError):
        return ""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
