"""Writing files so that nothing is ever half-written."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from dataset_distillation.errors import UserError


def write(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one stroke: written beside it, synced, renamed; or raise UserError."""
    # Processes of two machines, or of two containers, may have the same number.
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
    """Raises ValueError for NaN and the infinities, which are no JSON: what has no value is None."""
    write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
