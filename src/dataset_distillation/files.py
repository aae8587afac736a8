"""Writing files so that no reader ever sees a half-written one."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from dataset_distillation.errors import UserError


def write(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically: write a file beside it, sync it, rename it.

    Raises UserError if that fails.
    """
    # A process id would not be unique: processes of two machines or containers may have the same.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
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
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as JSON; a missing value is None.

    Raises ValueError for NaN and the infinities, which JSON does not have.
    """
    write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
