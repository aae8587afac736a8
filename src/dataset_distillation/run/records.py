"""The records in a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dataset_distillation.errors import UserError


def read(path: Path) -> dict[str, Any]:
    """A JSON file of ours; empty where there is none. Raises UserError."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: cannot be read: no table of keys and values")
    return content
