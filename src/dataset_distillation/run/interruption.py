"""Signals that end a run so that it can be resumed: Ctrl-C, and those of a cluster that will kill it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

#: SIGTERM precedes SIGKILL; scripts request SIGUSR1 (`sbatch --signal=USR1@60`), submitit requests SIGUSR2.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
INTERRUPTED = 130  # the exit code that a shell expects after Ctrl-C
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the same command resumes where this one stopped


class Interrupted(BaseException):
    """A signal has ended the run.

    It is not an Exception, so that code that recovers from errors does not catch it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = exit_code(signal.Signals(signum).name)


def exit_code(name: str) -> int:
    """The exit code of the program after the signal of that name."""
    return INTERRUPTED if name == "SIGINT" else TRY_AGAIN


def listeners() -> dict[int, Any]:
    """Return the handler of each signal, without signals that are ignored or that end the process."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # Python calls handlers in the main thread only
    handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
    return {signum: listener for signum, listener in handlers.items() if callable(listener)}


@contextmanager
def interruptible(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Make each signal raise Interrupted, unless other code, such as submitit, already handles it."""

    def interrupt(signum: int, _: Any) -> None:
        raise Interrupted(signum)

    replaced = {}
    if threading.current_thread() is threading.main_thread():
        free = (signal.SIG_DFL, signal.default_int_handler)
        replaced = {s: signal.signal(s, interrupt) for s in signals if signal.getsignal(s) in free}
    try:
        yield
    finally:
        for signum, listener in replaced.items():
            signal.signal(signum, listener)
