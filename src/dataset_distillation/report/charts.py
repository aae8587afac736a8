"""Charts by matplotlib, as SVG that takes its colours from the page it stands in, or as PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dataset_distillation.objectives import Metric

#: Stand-ins for the page's colours, by the name of the CSS variable that replaces them.
THEME = {
    "ink": "#010203",
    "muted": "#010204",
    "line": "#010205",
    "accent": "#010206",
    "second": "#010207",
    "third": "#010208",
    "other": "#010209",
}
#: The same for a picture on white paper.
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
BINS = 60


class Series(NamedTuple):
    """Points with error bars: x, mean and standard deviation (or None), in the unit of the axis."""

    name: str
    x: Sequence[float]
    mean: Sequence[float]
    std: Sequence[float | None]
    dashed: bool = False


class Pair(NamedTuple):
    """A cell of a table: the paper's (mean, std) and ours."""

    name: str
    paper: tuple[float, float | None] | None
    ours: tuple[float, float | None] | None


def figure(
    width: float,
    height: float,
    colours: Mapping[str, str] = THEME,
    rows: int = 1,
    columns: int = 1,
    **how: Any,
) -> tuple[Figure, Any]:
    """A figure of width × height inches, and its axes in the house style: one, or a list of them."""
    drawn = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False, **how).flatten().tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["bottom", "left"]].set_color(colours["muted"])
        axis.tick_params(which="both", colors=colours["muted"], labelsize=8)
        axis.grid(color=colours["line"], linewidth=0.8)
        axis.set_axisbelow(True)
    return drawn, axes if len(axes) > 1 else axes[0]


def label(axis: Axes, title: str, x: str = "", colours: Mapping[str, str] = THEME) -> None:
    axis.set_title(title, loc="left", fontsize=9.5, color=colours["ink"], parse_math=False)
    axis.set_xlabel(x, fontsize=8, color=colours["muted"], parse_math=False)


def svg(drawn: Figure, name: str) -> str:
    """The figure as an `<svg>` element with the page's colours and fonts; `name` is read out.

    The same figure gives the same text.
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


def curves(history: pandas.DataFrame, metric: Metric) -> list[str]:
    """Outer loss, validation metric, meta-gradient norm and learning rates against the outer step."""
    drawers = {
        "outer/loss": _loss,
        f"validation/{metric.name}": lambda axis, history: _validation(axis, history, metric),
        "outer/meta_gradient_norm": _norm,
        "learning_rates/": _rates,
    }
    charts = []
    for column, draw in drawers.items():
        if any(name.startswith(column) for name in history):
            drawn, axis = figure(4.6, 2.7)
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            draw(axis, history)
            charts.append(svg(drawn, axis.get_title(loc="left")))
    return charts


def _mark(rows: pandas.DataFrame) -> str:
    return "." if len(rows) == 1 else ""  # one point makes no line


def _loss(axis: Axes, history: pandas.DataFrame) -> None:
    rows = history.dropna(subset="outer/loss")
    steps, loss = rows["step"], rows["outer/loss"]
    if len(rows) > 50:
        axis.plot(steps, loss, color=THEME["accent"], alpha=0.3, linewidth=0.7)
        loss = loss.ewm(halflife=len(rows) / 50).mean()  # what the eye would draw through the noise
    axis.plot(steps, loss, color=THEME["accent"], linewidth=1.5, marker=_mark(rows))
    label(axis, "outer loss", "outer step")


def _validation(axis: Axes, history: pandas.DataFrame, metric: Metric) -> None:
    column = f"validation/{metric.name}"
    rows = history.dropna(subset=column)
    steps, mean = rows["step"], metric.unit * rows[column]
    std = metric.unit * rows.get(f"{column}_std", 0 * mean)
    axis.fill_between(steps, mean - std, mean + std, color=THEME["accent"], alpha=0.2, linewidth=0)
    axis.plot(steps, mean, color=THEME["accent"], linewidth=1.5)
    chosen = mean.idxmax() if metric.higher_is_better else mean.idxmin()
    axis.plot(steps[chosen], mean[chosen], "o", color=THEME["second"], markersize=5)
    label(axis, f"validation {metric.axis}  ·  chosen: step {steps[chosen]}", "outer step")


def _norm(axis: Axes, history: pandas.DataFrame) -> None:
    rows = history.dropna(subset="outer/meta_gradient_norm")
    norms = rows["outer/meta_gradient_norm"]
    axis.plot(rows["step"], norms, color=THEME["accent"], linewidth=0.9, marker=_mark(rows))
    axis.set_yscale("log")
    label(axis, "norm of the meta-gradient, before the clip", "outer step")


def _rates(axis: Axes, history: pandas.DataFrame) -> None:
    """One line a learned rate; later epochs are fainter."""
    found = [(name, re.fullmatch(r"learning_rates/epoch_(\d+)_step_\d+", name)) for name in history]
    columns, epochs = zip(*((name, int(match[1])) for name, match in found if match), strict=True)
    rows = history.dropna(subset=list(columns))
    for name, epoch in zip(columns, epochs, strict=True):
        faded = 1 - 0.75 * epoch / max(1, max(epochs))
        axis.plot(
            rows["step"], rows[name], color=THEME["accent"], alpha=faded, linewidth=1, marker=_mark(rows)
        )
    label(axis, "learning rates" + ("  ·  later epochs fainter" if max(epochs) else ""), "outer step")


def distributions(
    runs: pandas.DataFrame, metrics: Sequence[Metric], colours: Mapping[str, str] = THEME
) -> dict[Metric, Figure]:
    """By metric, how often each value occurs over the runs: a row a method, its mean marked."""
    drawn = {}
    for metric in metrics:
        if metric.name not in runs:
            continue
        by_method = runs.groupby("method", sort=False)[metric.name]
        values = {method: metric.unit * found.to_numpy(float) for method, found in by_method}
        # Neighbours have no loss, and that of a network that diverged has no place on an axis.
        values = {method: found[np.isfinite(found)] for method, found in values.items()}
        values = {method: found for method, found in values.items() if len(found)}
        if values:
            drawn[metric] = _distribution(values, on_test(metric), colours)
    return drawn


def on_test(metric: Metric) -> str:
    return f"test {metric.axis}"


def _distribution(values: Mapping[str, np.ndarray], name: str, colours: Mapping[str, str]) -> Figure:
    low, high = (f(v.min() if f is min else v.max() for v in values.values()) for f in (min, max))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    drawn, axis = figure(5, 0.6 + 0.45 * len(values), colours)
    for row, (method, found) in enumerate(values.items()):
        colour = colours["accent" if method == "distilled" else "other"]
        heights = np.histogram(found, edges)[0] / len(found)
        heights = 0.55 * heights / heights.max()
        axis.stairs(heights - row, edges, baseline=-row, fill=True, color=colour)
        axis.plot([found.mean()] * 2, [-row, 0.55 - row], color=colours["ink"], linewidth=1)
        written = method.replace("_", " ")
        axis.text(edges[0], 0.62 - row, written, fontsize=7.5, color=colours["ink"], parse_math=False)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    label(axis, "", name, colours)
    return drawn


def confusions(
    matrices: Mapping[str, np.ndarray], names: Sequence[str], colours: Mapping[str, str] = THEME
) -> dict[str, Figure]:
    """By method, shares of the true class (rows) that were taken for each class (columns)."""
    titles = {"before_training": "before training", "distilled": "after training on the distilled images"}
    return {
        method: _confusion(matrix, names, titles.get(method, method), colours)
        for method, matrix in matrices.items()
    }


def _confusion(matrix: np.ndarray, names: Sequence[str], title: str, colours: Mapping[str, str]) -> Figure:
    classes = len(names)
    drawn, axis = figure(4.6, 4.4, colours)
    axis.grid(visible=False)
    shade = np.zeros((classes, classes, 4))
    shade[..., :3], shade[..., 3] = (0.27, 0.51, 0.86), 0.85 * matrix  # see-through, on light and dark
    axis.imshow(shade, interpolation="none")
    if classes <= 12:
        for (row, column), share in np.ndenumerate(matrix):
            if share >= 0.005:
                axis.text(
                    column,
                    row,
                    f"{100 * share:.0f}",
                    ha="center",
                    va="center",
                    fontsize=6.5,
                    color=colours["ink"],
                )
        turned = 90 if max(map(len, names)) > 3 else 0
        axis.set_xticks(range(classes), names, rotation=turned, fontsize=7, parse_math=False)
        axis.set_yticks(range(classes), names, fontsize=7, parse_math=False)
    label(
        axis,
        title,
        "predicted class; rows: true class, %" if classes <= 12 else "predicted class; rows: true",
        colours,
    )
    return drawn


def draw_series(axis: Axes, series: Sequence[Series], colours: Mapping[str, str]) -> None:
    """Means with error bars against x, a line a series; of one name, of one colour."""
    names = list(dict.fromkeys(line.name for line in series))
    for line in series:
        number = names.index(line.name)
        colour, mark = colours[SERIES[number % len(SERIES)]], "osD^v"[number // len(SERIES) % 5]
        errors = [0.0 if std is None else std for std in line.std]
        dashed = {"linestyle": "--", "markerfacecolor": "white", "alpha": 0.65}
        style: dict[str, Any] = dashed if line.dashed else {}
        axis.errorbar(
            line.x, line.mean, errors, color=colour, marker=mark, markersize=3.5, linewidth=1.3, capsize=2.5,
            label="" if line.dashed else line.name, **style,
        )  # fmt: skip
    if values := sorted({value for line in series for value in line.x}):
        axis.set_xticks(values, [f"{value:g}" for value in values])


def draw_legend(drawn: Figure, axis: Axes, colours: Mapping[str, str]) -> None:
    """Below the axes, where it can hide nothing."""
    handles, names = axis.get_legend_handles_labels()
    if len(names) > 1:
        columns = max(1, 60 // (6 + max(map(len, names))))
        legend = drawn.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize=7.5, frameon=False,
            labelcolor=colours["ink"],
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def against(series: Sequence[Series], title: str, x: str) -> str:
    """Accuracy against x, for a page (the form of Figures 4 and 5)."""
    drawn, axis = figure(4.6, 3.0)
    draw_series(axis, series, THEME)
    draw_legend(drawn, axis, THEME)
    label(axis, title, x)
    return svg(drawn, f"{title} against {x}")


def panels(content: Sequence[tuple[str, str, Sequence[Series]]], colours: Mapping[str, str]) -> Figure:
    """A figure of the paper: panels (title, x, series), two in a row; dashed what the paper has."""
    drawn, axes = figure(9, 3 * -(-len(content) // 2), colours, rows=-(-len(content) // 2), columns=2)
    for axis, (title, x, series) in zip(axes, content, strict=False):
        draw_series(axis, series, colours)
        label(axis, title, x, colours)
    draw_legend(drawn, axes[0], colours)
    drawn.suptitle("solid: ours; dashed: the paper; mean and standard deviation, %", fontsize=8)
    return drawn


def compared(content: Sequence[tuple[str, Sequence[Pair]]], colours: Mapping[str, str]) -> Figure:
    """A table of the paper: a panel a row of it, in which each column has the paper's number and ours."""
    height = 0.8 + 0.26 * max(len(pairs) for _, pairs in content)
    drawn, axes = figure(3 + 2.6 * len(content), height, colours, columns=len(content), sharey=True)
    for axis, (title, pairs) in zip(axes, content, strict=True):
        for row, pair in enumerate(pairs):
            for found, up, colour, mark in (
                (pair.paper, 0.13, "other", "s"),
                (pair.ours, -0.13, "accent", "o"),
            ):
                if found is not None:
                    style: dict[str, Any] = {
                        "color": colours[colour],
                        "marker": mark,
                        "markersize": 4,
                        "linewidth": 1.2,
                    }
                    axis.errorbar(found[0], up - row, xerr=found[1] or 0, **style)
        axis.set_yticks([-row for row in range(len(pairs))], [pair.name for pair in pairs])
        axis.set_xlim(0, 101)
        label(axis, title, colours=colours)
    drawn.supxlabel(
        "grey: the paper; blue: ours; mean and standard deviation, %", fontsize=8, color=colours["muted"]
    )
    return drawn
