"""Tables in Markdown, as GitHub shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: What a page says instead of a table or a list that is empty.
NO_RUN = "There is no run of ours yet.\n"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines]


def bold(text: str) -> str:
    """Return `**text**`; an empty cell stays empty."""
    return f"**{text}**" if text else ""
