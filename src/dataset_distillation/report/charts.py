"""The charts of a run and of a multirun."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dataset_distillation.objectives import Metric
from dataset_distillation.report import figures
from dataset_distillation.report.drawing import THEME, Series, draw_legend, draw_series, figure, label, svg
from dataset_distillation.report.names import readable

BINS = 60


def curves(history: pandas.DataFrame, metric: Metric) -> list[str]:
    """Draw outer loss, validation metric, meta-gradient norm and learning rates against the outer step."""
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
    return "." if len(rows) == 1 else ""  # a single point has no line


def _loss(axis: Axes, history: pandas.DataFrame) -> None:
    rows = history.dropna(subset="outer/loss")
    steps, loss = rows["step"], rows["outer/loss"]
    if len(rows) > 50:
        axis.plot(steps, loss, color=THEME["accent"], alpha=0.3, linewidth=0.7)
        loss = loss.ewm(halflife=len(rows) / 50).mean()  # smoothed, with the noise left visible behind
    axis.plot(steps, loss, color=THEME["accent"], linewidth=1.5, marker=_mark(rows))
    label(axis, "outer loss", "outer step")


def _validation(axis: Axes, history: pandas.DataFrame, metric: Metric) -> None:
    column = f"validation/{metric.name}"
    rows = history[np.isfinite(history[column])]
    if rows.empty:  # a network diverged in every validation
        label(axis, f"validation {metric.axis}", "outer step")
        return
    steps, mean = rows["step"] + 1, metric.unit * rows[column]  # steps count from 0; this is behind the step
    std = metric.unit * rows.get(f"{column}_std", 0 * mean)
    axis.fill_between(steps, mean - std, mean + std, color=THEME["accent"], alpha=0.2, linewidth=0)
    axis.plot(steps, mean, color=THEME["accent"], linewidth=1.5)
    chosen = mean.idxmax() if metric.higher_is_better else mean.idxmin()
    axis.plot(steps[chosen], mean[chosen], "o", color=THEME["second"], markersize=5)
    label(axis, f"validation {metric.axis}  ·  chosen: after {steps[chosen]:,} steps", "outer step")


def _norm(axis: Axes, history: pandas.DataFrame) -> None:
    rows = history.dropna(subset="outer/meta_gradient_norm")
    norms = rows["outer/meta_gradient_norm"]
    axis.plot(rows["step"], norms, color=THEME["accent"], linewidth=0.9, marker=_mark(rows))
    axis.set_yscale("log")
    label(axis, "norm of the meta-gradient, before the clip", "outer step")


def _rates(axis: Axes, history: pandas.DataFrame) -> None:
    """One line per learned rate; later epochs are fainter."""
    matches = [(name, re.fullmatch(r"learning_rates/epoch_(\d+)_step_\d+", name)) for name in history]
    columns, epochs = zip(*((name, int(match[1])) for name, match in matches if match), strict=True)
    rows = history.dropna(subset=list(columns))
    for name, epoch in zip(columns, epochs, strict=True):
        opacity = 1 - 0.75 * epoch / max(1, max(epochs))
        axis.plot(
            rows["step"], rows[name], color=THEME["accent"], alpha=opacity, linewidth=1, marker=_mark(rows)
        )
    label(axis, "learning rates" + ("  ·  later epochs fainter" if max(epochs) else ""), "outer step")


def distributions(
    runs: pandas.DataFrame, metrics: Sequence[Metric], colors: Mapping[str, str] = THEME
) -> dict[Metric, Figure]:
    """Draw for each metric how often each value occurs over the runs: one row per method, its mean marked.

    One value has no distribution.
    """
    drawn = {}
    for metric in metrics:
        if metric.name not in runs:
            continue
        by_method = runs.groupby("method", sort=False)[metric.name]
        values = {method: metric.unit * own.to_numpy(float) for method, own in by_method}
        # Nearest neighbors have no loss, and the infinite loss of a network that diverged fits on no axis.
        values = {method: own[np.isfinite(own)] for method, own in values.items()}
        values = {method: own for method, own in values.items() if len(own) > 1}
        if values:
            drawn[metric] = _distribution(values, on_test(metric), colors)
    return drawn


def on_test(metric: Metric) -> str:
    return f"test {metric.axis}"


def _distribution(values: Mapping[str, np.ndarray], name: str, colors: Mapping[str, str]) -> Figure:
    low, high = (f(v.min() if f is min else v.max() for v in values.values()) for f in (min, max))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    drawn, axis = figure(5, 0.6 + 0.45 * len(values), colors)
    for row, (method, own) in enumerate(values.items()):
        color = colors["accent" if method == "distilled" else "other"]
        heights = np.histogram(own, edges)[0] / len(own)
        heights = 0.55 * heights / heights.max()
        axis.stairs(heights - row, edges, baseline=-row, fill=True, color=color)
        axis.plot([own.mean()] * 2, [-row, 0.55 - row], color=colors["ink"], linewidth=1)
        axis.text(edges[0], 0.62 - row, readable(method), fontsize=7.5, color=colors["ink"], parse_math=False)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    label(axis, "", name, colors)
    return drawn


def confusions(
    matrices: Mapping[str, np.ndarray], names: Sequence[str], colors: Mapping[str, str] = THEME
) -> dict[str, Figure]:
    """Draw for each method the share of each true class (row) that is predicted as each class (column)."""
    titles = {"before_training": "before training", "distilled": "after training on the distilled images"}
    return {
        method: _confusion(matrix, names, titles.get(method, method), colors)
        for method, matrix in matrices.items()
    }


def _confusion(matrix: np.ndarray, names: Sequence[str], title: str, colors: Mapping[str, str]) -> Figure:
    classes = len(names)
    drawn, axis = figure(4.6, 4.4, colors)
    axis.grid(visible=False)
    shade = np.zeros((classes, classes, 4))
    # Transparent, so that it suits light and dark pages.
    shade[..., :3], shade[..., 3] = (0.27, 0.51, 0.86), 0.85 * matrix
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
                    color=colors["ink"],
                )
        turned = 90 if max(map(len, names)) > 3 else 0
        axis.set_xticks(range(classes), names, rotation=turned, fontsize=7, parse_math=False)
        axis.set_yticks(range(classes), names, fontsize=7, parse_math=False)
    label(
        axis,
        title,
        "predicted class; rows: true class, %" if classes <= 12 else "predicted class; rows: true",
        colors,
    )
    return drawn


def against(series: Sequence[Series], title: str, x: str) -> str:
    """Draw the metric against x, for a page (the form of Figures 4 and 5)."""
    drawn, axis = figure(4.6, 3.0)
    draw_series(axis, series, THEME)
    draw_legend(drawn, axis, THEME)
    label(axis, title, x)
    return svg(drawn, f"{title} against {x}")


def heat(values: Mapping[tuple[float, float], float], title: str) -> str:
    """Draw a value for each (images, steps) that was measured, for a page."""
    return svg(figures.heat(values, title, THEME), f"{title} over {figures.IMAGES} and {figures.STEPS}")
