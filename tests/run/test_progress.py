"""Progress of steps that take seconds; the clock is the test's."""

from __future__ import annotations

import io
import logging
import re
import sys
from contextlib import suppress

import pytest

from dataset_distillation.run import progress as module
from dataset_distillation.run.progress import duration, progress, show_bars, silent


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_after_five_seconds_and_then_every_thirty(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with progress("reading images", 100) as advance:
        for _ in range(100):
            clock.now += 1
            advance()
    assert caplog.messages == [
        "reading images: 5 of 100, 1 min 35 s left",
        "reading images: 35 of 100, 1 min 5 s left",
        "reading images: 65 of 100, 35 s left",
        "reading images: 95 of 100, 5 s left",
    ]


def test_nothing_about_quick_steps_and_steps_within_others(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with progress("quick", 4) as advance:
        clock.now += 4
        advance(4)
    with silent(), progress("inner", 100) as advance:
        clock.now += 50
        advance()
    with progress("outer", 2) as outer, progress("inner", 100) as inner:
        clock.now += 50
        inner()
        outer()
    assert caplog.messages == ["outer: 1 of 2, 50 s left"]


@pytest.mark.parametrize("bars", [True, False])
def test_a_bar_on_a_terminal(
    bars: bool, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is removed in the end, also by an error; `trainer.progress_bar=false` means lines."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    show_bars(bars)
    with suppress(KeyError), progress("reading images", 100) as advance:
        clock.now += 20
        advance(10)
        raise KeyError
    show_bars(True)
    assert ("10 of 100, 3 min 0 s left" in terminal.getvalue()) == bars
    assert caplog.messages == ([] if bars else ["reading images: 10 of 100, 3 min 0 s left"])


def test_what_an_earlier_process_did_took_no_time_of_this_one(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with progress("distilling", 1000, done=900) as advance:
        clock.now += 10
        advance(note=lambda: "loss 2")
    assert caplog.messages == ["distilling: 901 of 1,000, 16 min 30 s left, loss 2"]


def test_a_notebook_has_one_line_that_is_rewritten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stderr is no terminal; a note is asked for only where it is shown, since it may wait for a GPU."""
    monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
    monkeypatch.setitem(sys.modules, "ipykernel", module)
    asked: list[float] = []
    with progress("distilling", 100) as advance:
        for _ in range(100):
            clock.now += 0.06
            advance(note=lambda: asked.append(clock.now) or f"loss {len(asked)}")
    assert len(asked) == 34  # of the 67 steps after the first two seconds, every other one
    assert shown.getvalue().count("\r") == len(asked)
    assert re.match(r"\rdistilling: 34 of 100, 4 s left, loss 1 +\r", shown.getvalue())
    assert shown.getvalue().endswith("\n")


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "7 s"), (200, "3 min 20 s"), (7530, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
