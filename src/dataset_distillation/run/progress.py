"""How far a step has come that takes seconds: a bar on a terminal, else a line every half minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

BAR_AFTER = 2.0  # seconds; most steps are over by then
REDRAW_EVERY = 0.1  # seconds; a note may have to wait for a GPU
LINE_AFTER, LINE_EVERY = 5.0, 30.0  # seconds

Advance = Callable[..., None]


@dataclass
class _Shown:
    """What this process shows: `bars` on a terminal or in a notebook, and one step at a time."""

    bars: bool = True
    busy: bool = False


_shown = _Shown()


def show_bars(bars: bool) -> None:
    """Choose between bars, on a terminal or in a notebook, and lines in the log."""
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
def progress(what: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show how much of `total` is done, of which an earlier process has `done` a part.

    Yields a function to call when one more is done, or `n` more are; its `note` returns what else to show.
    """
    if _shown.busy:
        yield lambda n=1, note=None: None
        return
    with silent():
        step = _Step(what, total, done)
        try:
            yield step.advance
        finally:
            step.close()


def followed(what: str, items: Sequence[T]) -> Iterator[T]:
    """Yield `items`, and show how many of them are done."""
    with progress(what, len(items)) as advance:
        for item in items:
            yield item
            advance()


@dataclass
class _Step:
    what: str
    total: int
    before: int
    done: int = 0  # by this process
    began: float = field(default_factory=lambda: time.monotonic())
    next: float = 0.0  # seconds until the next line, or until the bar is drawn again
    bar: bool = False
    redraw: Callable[[int, str], None] | None = None
    close: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.bar = _shown.bars and (sys.stderr.isatty() or _in_notebook())
        self.next = BAR_AFTER if self.bar else LINE_AFTER

    def advance(self, n: int = 1, note: Callable[[], str] | None = None) -> None:
        self.done += n
        done, seconds = self.before + self.done, time.monotonic() - self.began
        if seconds < self.next or (done >= self.total and not self.redraw):
            return
        left = duration(seconds / self.done * (self.total - done)) if self.done else "unknown time"
        text = f"{done:,} of {self.total:,}, {left} left" + (f", {note()}" if note else "")
        if not self.bar:
            self.next = seconds + LINE_EVERY
            log.info("%s: %s", self.what, text)
            return
        self.next = seconds + REDRAW_EVERY
        if self.redraw is None:
            self.redraw, self.close = (_line if _in_notebook() else _bar)(self.what, self.total)
        self.redraw(done, text)


def duration(seconds: float) -> str:
    """Return a time in two units at most: 7 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def _line(what: str, total: int) -> tuple[Callable[[int, str], None], Callable[[], None]]:
    """Return what rewrites a line of a notebook, and what ends it."""
    show = lambda _, text: print(f"\r{what}: {text:<{len(str(total)) + 60}}", end="", file=sys.stderr)  # noqa: E731
    return show, lambda: print(file=sys.stderr)


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
