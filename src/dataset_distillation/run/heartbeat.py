"""Signs of life that runs and sweeps write while they go on.

A run rewrites its `status.json` every few seconds while it goes on; `result.json` says how it ended. So a
run was killed if nobody rewrites its `status.json` any more. A multirun rewrites its `sweep.json` likewise.
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

import psutil

from dataset_distillation.errors import FileError, UserError
from dataset_distillation.objectives import ACCURACY, Metric
from dataset_distillation.run.folder import STATUS
from dataset_distillation.run.records import Life, Status, read, save

log = logging.getLogger(__name__)

BEAT = 5.0  # seconds between two signs of life
LOST = 60.0  # seconds without a sign after which a process counts as gone; cluster file systems are slow


@dataclass
class Progress:
    """How far a run is; a callback of the Trainer keeps it up to date."""

    step: int = 0
    steps: int = 0
    metric: Metric = ACCURACY
    validation: float | None = None  # the best value of `metric` so far
    steps_per_second: float | None = None


class Heartbeat:
    """Writes a record of `kind` to `path` at the start and every few seconds, until it is stopped.

    `describe` returns the fields of the record except the sign of life.
    """

    def __init__(self, path: Path, kind: type[Life], describe: Callable[[], dict[str, Any]]) -> None:
        self.path, self.kind, self.describe = path, kind, describe
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        self.write()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def write(self) -> None:
        life: dict[str, Any] = {"updated": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
        with contextlib.suppress(UserError):  # a disk that is full now may have room later
            save(self.kind(**self.describe(), **life), self.path)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            self.write()


@contextlib.contextmanager
def published(folder: Path, progress: Progress, overrides: list[str]) -> Iterator[None]:
    """Keep `folder/status.json` up to date while a run goes on, and remove it at the end."""
    heartbeat = Heartbeat(folder / STATUS, Status, lambda: {"overrides": overrides, **asdict(progress)})
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stop()
        heartbeat.path.unlink(missing_ok=True)


def alive(life: Life) -> bool:
    """Whether the process that gave this sign of life still exists."""
    if time.time() - life.updated > LOST:
        return False
    return life.host != socket.gethostname() or psutil.pid_exists(life.pid)


def process_of(path: Path, kind: type[Life]) -> str | None:
    """Return which other process gives signs of life of `kind` in the file `path`, or None.

    Of a process on another machine only the signs of life are visible, so this function waits for the next
    one. A killed process gives none, but its cluster may have restarted its job at once.
    """
    try:
        life = read(kind, path)
        if life is None:
            return None
        here = life.host == socket.gethostname()
        running = life.pid != os.getpid() if here else _gives_another_sign(path, life)
    except FileError:  # a power loss may leave half a file, and then the process is gone, too
        return None
    return f"process {life.pid} of {life.host}" if running and alive(life) else None


def _gives_another_sign(path: Path, life: Life) -> bool:
    deadline = time.monotonic() + LOST
    if alive(life):
        log.warning("%s has run here; waiting to see whether it still does (at most %.0f s)", life.host, LOST)
    while alive(life) and time.monotonic() < deadline:
        time.sleep(1)
        if (now := read(type(life), path)) != life:
            return now is not None
    return False
