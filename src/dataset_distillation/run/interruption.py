"""Signals that end a run so that it can go on later: Ctrl-C, and what a cluster sends before it kills."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

#: SIGTERM comes before SIGKILL; scripts ask for SIGUSR1 (`sbatch --signal=USR1@60`), submitit for SIGUSR2.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the same command goes on where this one stopped


class Interrupted(BaseException):
    """A signal has ended the run. No Exception: nothing that recovers from errors shall catch it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = exit_code(signal.Signals(signum).name)


def exit_code(name: str) -> int:
    """What the program answers to the signal of that name."""
    return INTERRUPTED if name == "SIGINT" else TRY_AGAIN


def listeners() -> dict[int, Any]:
    """Who is called at which signal; signals that are ignored, or that end the process, are left out."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # Python calls handlers in the main thread alone
    found = {signum: signal.getsignal(signum) for signum in SIGNALS}
    return {signum: listener for signum, listener in found.items() if callable(listener)}


@contextmanager
def interruptible(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Within it a signal raises Interrupted, unless somebody else listens to it already (submitit does)."""

    def interrupt(signum: int, _: Any) -> None:
        raise Interrupted(signum)

    taken = {}
    if threading.current_thread() is threading.main_thread():
        free = (signal.SIG_DFL, signal.default_int_handler)
        taken = {s: signal.signal(s, interrupt) for s in signals if signal.getsignal(s) in free}
    try:
        yield
    finally:
        for signum, listener in taken.items():
            signal.signal(signum, listener)
