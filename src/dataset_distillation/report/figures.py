"""Pictures of results: the paper's numbers beside ours, and values over two counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dataset_distillation.report.drawing import Series, draw_legend, draw_series, figure, label
from dataset_distillation.report.seeds import Number

IMAGES, STEPS = "images per class and step", "steps"  # the axes of a grid of counts


class Pair(NamedTuple):
    """A cell of a table."""

    name: str
    paper: Number | None
    ours: Number | None


def panels(content: Sequence[tuple[str, str, Sequence[Series]]], colors: Mapping[str, str]) -> Figure:
    """Draw a figure of the paper: panels (title, x, series), two per row; the paper's lines are dashed."""
    drawn, axes = figure(9, 3 * -(-len(content) // 2), colors, rows=-(-len(content) // 2), columns=2)
    for axis, (title, x, series) in zip(axes, content, strict=False):
        draw_series(axis, series, colors)
        label(axis, title, x, colors)
    draw_legend(drawn, axes[0], colors)
    drawn.suptitle("solid: ours; dashed: the paper; mean and standard deviation, %", fontsize=8)
    return drawn


def compared(content: Sequence[tuple[str, Sequence[Pair]]], colors: Mapping[str, str]) -> Figure:
    """Draw a table of the paper: one panel per row; each column has the paper's number and ours."""
    height = 0.8 + 0.26 * max(len(pairs) for _, pairs in content)
    drawn, axes = figure(3 + 2.6 * len(content), height, colors, columns=len(content), sharey=True)
    for axis, (title, pairs) in zip(axes, content, strict=True):
        for row, pair in enumerate(pairs):
            for value, up, color, mark in (
                (pair.paper, 0.13, "other", "s"),
                (pair.ours, -0.13, "accent", "o"),
            ):
                if value is not None:
                    axis.errorbar(
                        value.mean, up - row, xerr=value.std or 0, color=colors[color], marker=mark,
                        markersize=4, linewidth=1.2,
                    )  # fmt: skip
        axis.set_yticks([-row for row in range(len(pairs))], [pair.name for pair in pairs])
        axis.set_xlim(0, 101)
        label(axis, title, colors=colors)
    drawn.supxlabel(
        "gray: the paper; blue: ours; mean and standard deviation, %", fontsize=8, color=colors["muted"]
    )
    return drawn


def heat(values: Mapping[tuple[float, float], float], title: str, colors: Mapping[str, str]) -> Figure:
    """Draw a value for each (images, steps) that was measured."""
    columns, rows = (sorted({at[axis] for at in values}) for axis in (0, 1))
    drawn, axis = figure(4.6, 1.2 + 0.45 * len(rows), colors)
    axis.grid(visible=False)
    low, high = min(values.values()), max(values.values())
    shade = np.zeros((len(rows), len(columns), 4))
    for (column, row), value in values.items():
        place = rows.index(row), columns.index(column)
        # Transparent, so that it suits light and dark pages.
        shade[place] = 0.27, 0.51, 0.86, 0.1 + 0.75 * (value - low) / ((high - low) or 1)
        axis.text(*place[::-1], f"{value:.4g}", ha="center", va="center", fontsize=8, color=colors["ink"])
    axis.imshow(shade, interpolation="none", aspect="auto")
    axis.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axis.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    axis.set_ylabel(STEPS, fontsize=8, color=colors["muted"])
    label(axis, title, IMAGES, colors)
    return drawn
