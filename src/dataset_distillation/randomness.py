"""Randomness is a function of its name.

Every random draw of the project comes from a stream whose name says what the draw is for and which step it
belongs to. No state is carried from one draw to the next. So a run that was stopped and resumed sees the same
draws as one that was not, and two methods that use the same name are compared on the same draw.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A CPU generator that depends on (seed, purpose, step) alone.

    Draws are made on the CPU and moved to the device, so that they are the same on every device.
    """
    import torch

    digest = hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
