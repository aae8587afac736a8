"""Signals, wherever they arrive: one Interrupted, which nothing swallows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dataset_distillation.run import interruption
from dataset_distillation.run.interruption import Interrupted, before_the_end, interruptible
from dataset_distillation.run.workers import deaf
from support.waiting import DEADLINE


def until_interrupted() -> None:
    time.sleep(DEADLINE)
    pytest.fail("no signal has ended it")


def receive(*signals: signal.Signals) -> None:
    for signum in signals:
        os.kill(os.getpid(), signum)


def test_signals_received_together_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with interruptible():
        with pytest.raises(Interrupted, match="SIGTERM"):
            receive(signal.SIGTERM)
        receive(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
        monkeypatch.setattr(interruption, "TOGETHER", 0.0)  # as if it was a while ago
        with pytest.raises(Interrupted, match="SIGINT"):
            receive(signal.SIGINT)


def test_an_import_is_finished_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules try what they import, and take any exception for an answer."""
    (tmp_path / "tries.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\nexcept BaseException:\n    pass\n"
        "whole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with interruptible():
        import tries  # type: ignore[import-not-found]

        with pytest.raises(Interrupted):
            until_interrupted()
    assert tries.whole


def test_an_import_that_hangs_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangs.py").write_text(
        f"import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep({DEADLINE})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(interruption, "PATIENCE", 0.1)
    with interruptible(), pytest.raises(Interrupted):
        import hangs  # type: ignore[import-not-found] # noqa: F401


def test_what_nobody_can_catch_is_raised_again(capsys: pytest.CaptureFixture[str]) -> None:
    class Deleted:
        def __del__(self) -> None:
            receive(signal.SIGUSR1)

    with interruptible():
        Deleted()
        with pytest.raises(Interrupted, match="SIGUSR1"):
            until_interrupted()
    assert capsys.readouterr().err == ""


def test_a_second_signal_does_not_wait_for_what_comes_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = []

    def wait(signum: int) -> None:
        told.append(signum)
        receive(signal.SIGTERM)  # together with the first
        monkeypatch.setattr(interruption, "TOGETHER", 0.0)
        receive(signal.SIGTERM)
        until_interrupted()

    with interruptible():
        before_the_end(wait)
        with pytest.raises(Interrupted, match="SIGTERM"):
            receive(signal.SIGINT)
    assert told == [signal.SIGINT]


def test_a_worker_receives_a_signal_when_its_job_listens() -> None:
    with deaf():
        signal.raise_signal(signal.SIGTERM)  # for this thread alone
        with pytest.raises(Interrupted, match="SIGTERM"), interruptible():
            pass
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert not set(interruption.SIGNALS) & signal.pthread_sigmask(signal.SIG_BLOCK, ())


#: Ends the trackers of semaphores as `deaf` has started them, and prints how each has ended.
TRACKERS = """
import os, signal
from multiprocessing import resource_tracker
from joblib.externals.loky.backend import resource_tracker as of_loky
from dataset_distillation.run.interruption import SIGNALS
from dataset_distillation.run.workers import deaf
with deaf():
    for tracker in (resource_tracker._resource_tracker, of_loky._resource_tracker):
        for signum in SIGNALS:
            os.kill(tracker._pid, signum)
        os.close(tracker._fd)
        print(os.waitpid(tracker._pid, 0)[1], flush=True)
    os._exit(0)
"""


def test_the_trackers_of_semaphores_outlive_a_signal_to_the_whole_group() -> None:
    pytest.importorskip("joblib")
    ended = subprocess.run([sys.executable, "-c", TRACKERS], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["0", "0"]
