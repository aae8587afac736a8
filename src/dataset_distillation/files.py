"""Reading the files of others, and writing files so that no reader ever sees a half-written one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from dataset_distillation.errors import FileError, NoFile, UserError


@contextmanager
def opened(path: Path | str, limit: int) -> Iterator[BufferedReader]:
    """Open a file of others for reading, if it is a regular file of at most `limit` bytes.

    A pipe would wait for a writer forever, a device never ends, and a sparse file has any size.

    Raises FileError, with a message of one line; NoFile if there is no such file.
    """
    try:
        file = _open(path)
    except FileNotFoundError as error:
        raise NoFile(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise FileError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"{path}: cannot be read: not a regular file")
        if status.st_size > limit:
            size = f"{status.st_size:,} bytes, and at most {limit:,} are read"
            raise FileError(f"{path}: cannot be read: {size}")
        yield file


def _open(path: Path | str) -> BufferedReader:
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def read(path: Path | str, limit: int) -> bytes:
    """Return the content of a file of others. Raises FileError as `opened` does."""
    with opened(path, limit) as file:
        try:
            return file.read(limit)  # the file may be growing
        except OSError as error:
            raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error


def write(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically: write a file beside it, sync it, rename it.

    Raises UserError if that fails.
    """
    # A process id would not be unique: processes of two machines or containers may have the same.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # see `is_temporary`
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # on a read-only disk, the error above is the one that matters
            temporary.unlink()


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as JSON; a missing value is None.

    Raises ValueError for NaN and the infinities, which JSON does not have.
    """
    write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def is_temporary(path: Path) -> bool:
    """Whether `write` made this file beside another, which a process that was killed leaves behind."""
    return re.fullmatch(r"\..+\.[0-9a-f]{16}", path.name) is not None
