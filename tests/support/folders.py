"""What a run has left in its folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def result_of(folder: Path) -> Any:
    """The content of `result.json`."""
    return json.loads((folder / "result.json").read_text())


def digest(folder: Path) -> str:
    """The SHA-256 of the artifact."""
    return hashlib.sha256((folder / "distilled.safetensors").read_bytes()).hexdigest()
