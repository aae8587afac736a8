"""The worker processes of joblib: a signal ends what they do only where they listen for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from dataset_distillation.run.interruption import SIGNALS


@contextmanager
def deaf() -> Iterator[None]:
    """Workers that this thread starts meanwhile receive no signal, except where they are `interruptible`.

    They inherit that this thread blocks the signals, which another thread of this process may receive.
    Otherwise Ctrl-C in a terminal would reach them while they start, and each would print a traceback.
    """
    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        # They ignore SIGINT and SIGTERM, and inherit that the others are blocked: a tracker that a signal to
        # the whole group ends forgets which semaphores there are, and the next one prints a traceback.
        for tracker in (resource_tracker, loky_tracker):
            tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # their start has unblocked SIGINT and SIGTERM
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
