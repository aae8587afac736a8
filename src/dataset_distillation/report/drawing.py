"""Figures by matplotlib: as SVG in the colors of the page around it, or as PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Placeholders for the page's colors, by the name of the CSS variable that replaces them.
THEME = {
    "ink": "#010203",
    "muted": "#010204",
    "line": "#010205",
    "accent": "#010206",
    "second": "#010207",
    "third": "#010208",
    "other": "#010209",
}
#: The colors of a picture on white paper.
PRINT = {
    "ink": "#1d2127",
    "muted": "#5f6875",
    "line": "#dfe2e6",
    "accent": "#2b66c9",
    "second": "#c96a1b",
    "third": "#2a8f6d",
    "other": "#9aa3af",
}
SERIES = ("accent", "second", "third", "muted", "other")


class Series(NamedTuple):
    """Points with error bars: x, mean and standard deviation (or None), in the unit of the axis."""

    name: str
    x: Sequence[float]
    mean: Sequence[float]
    std: Sequence[float | None]
    dashed: bool = False


def figure(
    width: float,
    height: float,
    colors: Mapping[str, str] = THEME,
    rows: int = 1,
    columns: int = 1,
    **options: Any,
) -> tuple[Figure, Any]:
    """Return a figure of width × height inches and its axes in the common style: one, or a list of them."""
    drawn = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False, **options).flatten().tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["bottom", "left"]].set_color(colors["muted"])
        axis.tick_params(which="both", colors=colors["muted"], labelsize=8)
        axis.grid(color=colors["line"], linewidth=0.8)
        axis.set_axisbelow(True)
    return drawn, axes if len(axes) > 1 else axes[0]


def label(axis: Axes, title: str, x: str = "", colors: Mapping[str, str] = THEME) -> None:
    axis.set_title(title, loc="left", fontsize=9.5, color=colors["ink"], parse_math=False)
    axis.set_xlabel(x, fontsize=8, color=colors["muted"], parse_math=False)


def svg(drawn: Figure, name: str) -> str:
    """Return the figure as an `<svg>` element in the page's colors and fonts; screen readers read `name`.

    The same figure always gives the same text.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        drawn.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"""font: ([\d.]+)px [^;"]*""", r"font-size: \1px", text)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    text = re.sub(
        r"<svg[^>]*>", f'<svg class="chart" role="img" aria-label="{escape(name)}" {view[0]}>', text, count=1
    )
    for variable, stand_in in THEME.items():
        text = text.replace(stand_in, f"var(--{variable})")
    return re.sub(r"\s*\n\s*", "\n", text)


def png(drawn: Figure) -> bytes:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw_series(axis: Axes, series: Sequence[Series], colors: Mapping[str, str]) -> None:
    """Draw means with error bars against x, one line per series; one name has one color and one label."""
    names = list(dict.fromkeys(line.name for line in series))
    labeled: set[str] = set()
    for line in series:
        number = names.index(line.name)
        color, mark = colors[SERIES[number % len(SERIES)]], "osD^v"[number // len(SERIES) % 5]
        errors = [0.0 if std is None else std for std in line.std]
        dashed = {"linestyle": "--", "markerfacecolor": "white", "alpha": 0.65}
        style: dict[str, Any] = dashed if line.dashed else {}
        axis.errorbar(
            line.x, line.mean, errors, color=color, marker=mark, markersize=3.5, linewidth=1.3, capsize=2.5,
            label="" if line.name in labeled else line.name, **style,
        )  # fmt: skip
        labeled.add(line.name)
    if values := sorted({value for line in series for value in line.x}):
        axis.set_xticks(values, [f"{value:g}" for value in values])


def draw_legend(drawn: Figure, axis: Axes, colors: Mapping[str, str]) -> None:
    """Draw the legend below the axes, where it hides nothing."""
    handles, names = axis.get_legend_handles_labels()
    if len(names) > 1:
        columns = max(1, 60 // (6 + max(map(len, names))))
        legend = drawn.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize=7.5, frameon=False,
            labelcolor=colors["ink"],
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
