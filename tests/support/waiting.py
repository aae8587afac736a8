"""Waiting for another thread or process: until something has happened, not for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

#: After so long something is wrong, however slow the machine is.
DEADLINE = 300.0


def eventually(condition: Callable[[], Found]) -> Found:
    """What `condition` returns, as soon as that is true; it is asked again and again until then."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it has not come true in {DEADLINE:.0f} s"
        time.sleep(0.05)
    return found
