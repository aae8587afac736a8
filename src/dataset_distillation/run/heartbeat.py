"""What runs and sweeps tell of themselves while they go on.

A run that goes on has a `status.json`, rewritten every few seconds; how it ended, `result.json` says. So a
run that was killed is known by a `status.json` that nobody rewrites. `sweep.json` does so for a multirun.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataset_distillation.errors import DAMAGED, UserError
from dataset_distillation.files import write_json
from dataset_distillation.run.records import read

log = logging.getLogger(__name__)

BEAT = 5.0  # seconds between two signs of life
LOST = 60.0  # seconds without one after which nobody is there; file systems of clusters are slow


@dataclass
class Progress:
    """How far a run is; kept up to date by a callback of the Trainer."""

    step: int = 0
    steps: int = 0
    metric: str = ""
    validation: float | None = None  # the best value of `metric` so far
    steps_per_second: float | None = None

    def __post_init__(self) -> None:
        """Refuse what a damaged file says. Raises TypeError or ValueError."""
        self.step, self.steps, self.metric = int(self.step), int(self.steps), str(self.metric)
        for name in ("validation", "steps_per_second"):
            if (value := getattr(self, name)) is not None:
                setattr(self, name, float(value))


class Heartbeat:
    """Writes `path` now and every few seconds, with what `tell` returns, until it is stopped."""

    def __init__(self, path: Path, tell: Callable[[], dict[str, Any]]) -> None:
        self.path, self.tell = path, tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        self.write()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def write(self) -> None:
        life = {"updated": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
        with contextlib.suppress(UserError):  # a disk that is full now may have room later
            write_json(self.path, {**self.tell(), **life})

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            self.write()


@contextlib.contextmanager
def published(folder: Path, progress: Progress, overrides: list[str]) -> Iterator[None]:
    """Keep `folder/status.json` while a run goes on."""
    heartbeat = Heartbeat(folder / "status.json", lambda: {"overrides": overrides, **asdict(progress)})
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stop()
        heartbeat.path.unlink(missing_ok=True)


def alive(told: dict[str, Any]) -> bool:
    """Whether the process that wrote this is still there."""
    if time.time() - told["updated"] > LOST:
        return False
    if told["host"] != socket.gethostname():
        return True
    try:
        os.kill(told["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def going_on(folder: Path) -> str | None:
    """Which process runs in `folder`, if another one does.

    Of one on another machine nothing is known but its signs of life, so the next one is waited for: a
    killed one gives none, and its cluster may have queued its job again at once.
    """
    path = folder / "status.json"
    try:
        told = read(path)
        here = told["host"] == socket.gethostname()
        goes_on = told["pid"] != os.getpid() if here else _gives_another_sign(path, told)
        return f"process {told['pid']} of {told['host']}" if goes_on and alive(told) else None
    except (UserError, *DAMAGED):  # no such file, or a damaged one
        return None


def _gives_another_sign(path: Path, told: dict[str, Any]) -> bool:
    deadline = time.monotonic() + LOST
    if alive(told):
        log.warning("%s has run here; waiting whether it still does (%.0f s at most)", told["host"], LOST)
    while alive(told) and time.monotonic() < deadline:
        time.sleep(1)
        if (now := read(path)) != told:
            return bool(now)
    return False
