"""Progress of steps that take seconds; the clock is the test's."""

from __future__ import annotations

import io
import logging
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


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "7 s"), (200, "3 min 20 s"), (7530, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
