"""How far a step has come that takes seconds: a bar on a terminal, else a line every half minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

BAR_AFTER = 2.0  # seconds; most steps are over by then
LINE_AFTER, LINE_EVERY = 5.0, 30.0  # seconds

Advance = Callable[..., None]


@dataclass
class _Shown:
    """What this process shows: `bars` where it has a terminal, and one step at a time."""

    bars: bool = True
    busy: bool = False


_shown = _Shown()


def show_bars(bars: bool) -> None:
    """Choose between bars, where there is a terminal, and lines in the log."""
    _shown.bars = bars


@contextmanager
def silent() -> Iterator[None]:
    """Show no steps within another that shows its own progress."""
    before, _shown.busy = _shown.busy, True
    try:
        yield
    finally:
        _shown.busy = before


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Show how much of `total` is done; yields a function to call when one more is, or `n` more are."""
    if _shown.busy:
        yield lambda n=1: None
        return
    with silent():
        step = _Step(what, total)
        try:
            yield step.advance
        finally:
            step.end()


@dataclass
class _Step:
    what: str
    total: int
    done: int = 0
    began: float = field(default_factory=lambda: time.monotonic())
    line: float = LINE_AFTER  # when the next line is due, in seconds since the beginning
    on_terminal: bool = False
    close: Callable[[], None] | None = None
    redraw: Callable[[int, str], None] | None = None

    def __post_init__(self) -> None:
        import sys

        self.on_terminal = _shown.bars and sys.stderr.isatty()

    def advance(self, n: int = 1) -> None:
        self.done += n
        seconds = time.monotonic() - self.began
        if self.on_terminal:
            if self.redraw is None and seconds >= BAR_AFTER and self.done < self.total:
                self.redraw, self.close = _bar(self.what, self.total)
            if self.redraw:
                self.redraw(self.done, self.text(seconds))
        elif seconds >= self.line and self.done < self.total:
            self.line = seconds + LINE_EVERY
            log.info("%s: %s", self.what, self.text(seconds))

    def text(self, seconds: float) -> str:
        left = seconds / self.done * (self.total - self.done) if self.done else 0.0
        return f"{self.done:,} of {self.total:,}, {duration(left)} left"

    def end(self) -> None:
        if self.close:
            self.close()


def duration(seconds: float) -> str:
    """Return a time in two units at most: 7 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _bar(what: str, total: int) -> tuple[Callable[[int, str], None], Callable[[], None]]:
    """Return what redraws a bar, and what removes it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)  # stdout is reserved for the tables
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    shown = Progress(*columns, console=console, transient=True)
    task = shown.add_task(what, total=total, text="")
    shown.start()
    return lambda done, text: shown.update(task, completed=done, text=text), shown.stop
