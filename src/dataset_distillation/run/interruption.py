"""Signals that end a program so that it can be resumed: Ctrl-C, and those of a cluster that will kill it.

The console programs listen before they import anything that takes time, so this file imports next to nothing.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

#: SIGTERM precedes SIGKILL; scripts request SIGUSR1 (`sbatch --signal=USR1@60`), submitit requests SIGUSR2.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
INTERRUPTED = 130  # the exit code that a shell expects after Ctrl-C
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the same command resumes where this one stopped

#: Signals less than so many seconds apart count as one: a job gets Ctrl-C from the terminal and from its
#: multirun, `timeout` and clusters signal a process and its children, and people press twice.
TOGETHER = 2.0
#: Seconds that an import may take before it is broken off, too: it may be of the user's code, and hang.
PATIENCE = 10.0
NEVER = float("-inf")  # in seconds of the monotonic clock

Handler = Callable[[int, FrameType | None], object]


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


class _Received:
    """The signal that ends this process."""

    signum: int | None = None
    at = NEVER  # when it was received
    pending = False  # whether it waits for the end of an import
    first: Callable[[int], None] | None = None  # what is done before the process obeys

    @classmethod
    def again(cls, signum: int) -> bool:
        """Note a signal, unless it is one more of those that were received together."""
        now = time.monotonic()
        if now - cls.at < TOGETHER:
            return True
        cls.signum, cls.at = signum, now
        return False


def ended_by() -> str | None:
    """The name of the signal that has interrupted a run in this process."""
    return None if _Received.signum is None else signal.Signals(_Received.signum).name


@contextmanager
def program_ended_by_signals() -> Iterator[None]:
    """Until the process ends, each signal ends the program in one line, with the exit code of the signal.

    It does so at once, except where `interruptible` says that there is something to keep.
    """
    _Received.signum, _Received.at, _Received.pending, _Received.first = None, NEVER, False, None
    _listen(_leave, (signal.SIG_DFL, signal.default_int_handler))
    try:
        yield
    except Interrupted as end:
        _listen(signal.SIG_IGN, (_leave,))
        print(f"{os.path.basename(sys.argv[0])}: interrupted ({end})", file=sys.stderr)
        sys.exit(end.exit_code)
    except BrokenPipeError:
        if not _unread():
            raise  # another pipe is broken
    finally:
        _listen(signal.SIG_IGN, (_leave,))  # the exit code is decided
        _unread()


def _unread() -> bool:
    """Whether nobody reads what is printed any more, as after `| head`; what is left is thrown away then."""
    output = select.poll()
    output.register(1, select.POLLERR)
    if not output.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return True


@contextmanager
def interruptible(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Make each signal raise Interrupted, unless other code, such as submitit, already handles it.

    A signal that a launcher has blocked in its workers is received here, too.
    """
    replaced: dict[int, Handler | int | None] = {}
    if threading.current_thread() is threading.main_thread():
        replaced = _listen(_obey, (signal.SIG_DFL, signal.default_int_handler, _leave), signals)
    if not replaced:
        yield
        return
    _Received.at, _Received.pending = NEVER, False
    hook, sys.unraisablehook = sys.unraisablehook, _raise_elsewhere(sys.unraisablehook)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, replaced)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        sys.unraisablehook = hook
        for signum, listener in replaced.items():
            signal.signal(signum, listener)


@contextmanager
def nothing_to_keep() -> Iterator[None]:
    """Within `interruptible`: end the program at once again, as long as imports take."""
    replaced = _listen(_leave, (_obey,))
    try:
        yield
    finally:
        for signum, listener in replaced.items():
            signal.signal(signum, listener)


def before_the_end(do: Callable[[int], None]) -> None:
    """Call `do` with the signal before Interrupted is raised; a second signal does not wait for it."""
    _Received.first = do


def listeners() -> dict[int, Handler]:
    """Return the handler of each signal, without signals that are ignored or that end the process."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # Python calls handlers in the main thread only
    handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
    return {signum: listener for signum, listener in handlers.items() if callable(listener)}


def _listen(
    handler: Handler | signal.Handlers, instead_of: tuple[object, ...], signals: Sequence[int] = SIGNALS
) -> dict[int, Handler | int | None]:
    """Set the handler of those signals whose handler is one of `instead_of`; return the former handlers."""
    return {s: signal.signal(s, handler) for s in signals if signal.getsignal(s) in instead_of}


def _leave(signum: int, _: FrameType | None) -> None:
    if _Received.again(signum):
        return
    name = signal.Signals(signum).name
    try:
        os.write(2, f"{os.path.basename(sys.argv[0])}: interrupted ({name})\n".encode())
    finally:
        os._exit(exit_code(name))


def _obey(signum: int, frame: FrameType | None) -> None:
    """Raise Interrupted, but after an import: modules that are imported half are errors of any kind."""
    if not _Received.pending and _Received.again(signum):
        return
    signum = _Received.signum or signum
    _Received.pending = _importing(frame) and time.monotonic() - _Received.at < PATIENCE
    if _Received.pending:
        return _obey_later(signum)
    first, _Received.first = _Received.first, None
    if first:
        first(signum)
    raise Interrupted(signum)


def _obey_later(signum: int) -> None:
    later = threading.Timer(0.05, os.kill, (os.getpid(), signum))
    later.daemon = True
    later.start()


def _importing(frame: FrameType | None) -> bool:
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _raise_elsewhere(ignored: Callable[[sys.UnraisableHookArgs], object]) -> Callable[..., None]:
    """Python's hook for what is raised where nobody can catch it, as while the garbage is collected."""

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, Interrupted) and _Received.signum:
            _Received.pending = True
            _obey_later(_Received.signum)
        else:
            ignored(unraisable)

    return hook
