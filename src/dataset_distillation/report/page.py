"""`report.html`: one file that shows a run; it needs no network and no scripts (sweep_page.py: a multirun).

It is a function of the files in the folder alone, so that it can be made again anywhere.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml
from markupsafe import Markup
from PIL import Image

from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.pictures import MOST, MOST_RATES, captions, or_a_line, visible
from dataset_distillation.errors import FileError, printable
from dataset_distillation.files import write
from dataset_distillation.objectives import Metric
from dataset_distillation.report import charts, drawing
from dataset_distillation.report.methods import (
    advice,
    beaten,
    chosen,
    interval,
    of_others,
    protocol,
    ranking,
    storage,
)
from dataset_distillation.report.names import explains, readable
from dataset_distillation.report.numbers import about, difference, mean_and_std, number
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.run.folder import ARTIFACT, CONFUSION, EVALUATION, HISTORY, PAGE
from dataset_distillation.run.records import Spread

log = logging.getLogger(__name__)

LARGEST = 112  # largest side of a picture in the page, in pixels; larger ones are reduced
FIRST_STEPS = 10  # the steps that are always visible; the others unfold


def write_run(folder: Path) -> Path:
    """Write the page of the run in `folder`; return its path."""
    run = RecordedRun(folder)
    result = run.result  # without it there is no page, whatever else can be read
    images: dict[str, Any] = {}
    with or_a_line(folder / ARTIFACT):
        images = _images(run)
    context = {
        "run": run,
        "images": images,
        "artifact": ARTIFACT,
        "curves": safe(folder / HISTORY, lambda: _curves(run)),
        "distributions": safe(folder / EVALUATION, lambda: _distributions(run)),
        "confusion": safe(folder / CONFUSION, lambda: _confusions(run)),
        "protocol": protocol(result),
        "elsewhere": any(map(of_others, result.rows.values())),
        "explained": [method for method in result.rows if explains(method)],
        "interval": interval(result),
        "beaten": beaten(result),
        "advice": advice(result),
        "ranking": ranking(result),
        "storage": storage(result.storage) if result.storage else "",
        "config_text": yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True),
        "first_steps": FIRST_STEPS,
        "longest": longest([run]),
    }
    return render("run.html", folder, context)


def render(template: str, folder: Path, context: dict[str, Any]) -> Path:
    """Write the page of `folder`, made of a template; return its path."""
    loader = jinja2.PackageLoader("dataset_distillation.report")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "value": number,
        "spread": spread,
        "name": readable,
        "difference": difference,
        "about": about,
        "chosen": chosen,
    }
    text = environment.get_template(template).render(folder=folder.resolve().name, **context)
    write(folder / PAGE, text.encode())
    return folder / PAGE


def spread(values: Spread | None, metric: Metric, runs: int) -> str:
    """Return the mean of a metric, with ± standard deviation if there are several runs."""
    if values is None or runs > 1:
        return mean_and_std(values, metric)
    return number(values.mean, metric)  # older records have a standard deviation of 0


def longest(runs: list[RecordedRun]) -> float:
    """Return the value of the longest bar of a table: 1 for shares, or the largest loss."""
    losses = [
        row.mean
        for run in runs
        if not run.result.metric.percent
        for row in run.result.evaluation
        if row.mean is not None
    ]
    return max(losses, default=1) or 1


def _images(run: RecordedRun) -> dict[str, Any]:
    """The distilled images by step with their learning rates, and real images above or beside each class.

    If a step has one image per class, each column has one class; if it has several, class by class, each row
    has one.
    """
    distilled = run.distilled
    if distilled is None:
        return {}
    names = list(map(printable, distilled.metadata["class_names"]))
    pixels = (visible(distilled.pixels) * 255).round().byte().movedim(-3, -1).numpy()
    real = _real(run, len(names))
    examples = [[(_data_uri(image), name) for image, name in zip(row, names, strict=True)] for row in real]
    columns = pixels.shape[1] // len(names)
    by_class = columns > 1 and _by_class(distilled, len(names))
    beside = [list(class_examples) for class_examples in zip(*examples, strict=True)] if by_class else []
    steps = []
    each = min(MOST, pixels.shape[1])
    shown = slice(MOST // each)
    for step, (images, labels) in enumerate(zip(pixels[shown], distilled.labels[shown], strict=True)):
        named = zip(images[:each], captions(labels[:each], names), strict=True)
        tiles = [(_data_uri(image), name) for image, name in named]
        rows = [(real, tiles[c * columns : (c + 1) * columns]) for c, real in enumerate(beside)]
        rates = _rates(distilled.rates_by_epoch[:, step].tolist())
        steps.append({"rates": rates, "rows": rows or [([], tiles)]})
    number = pixels.shape[0] * pixels.shape[1]
    return {
        "steps": steps,
        "real": [] if beside else examples,
        "beside": beside,
        "number": number,
        "left_out": number - len(steps) * each,
        "side": pixels.shape[2],
    }


def _by_class(distilled: DistilledSet, classes: int) -> bool:
    """Whether the images of each step are those of the first class, then as many of the second, and so on."""
    labels = distilled.labels.argmax(dim=-1) if distilled.labels.ndim == 3 else distilled.labels
    each, rest = divmod(labels.shape[1], classes)
    in_order = [label for label in range(classes) for _ in range(each)]
    return not rest and all(row == in_order for row in labels.tolist())


def _rates(by_epoch: list[float]) -> str:
    """Return the learning rates of a step as text; equal ones once."""
    shown = [f"{rate:.4g}" for rate in by_epoch]
    if len(set(shown)) > 1:
        return f"learning rates {' · '.join(shown[:MOST_RATES])}"
    return f"learning rate {shown[0]}" + (f" ({len(shown)} epochs)" if len(shown) > 1 else "")


def _real(run: RecordedRun, classes: int) -> list[np.ndarray]:
    """Return the real examples, if there are some of each class and not too many to show."""
    try:
        real = run.real
    except FileError as error:  # the page is more than this picture
        log.warning("%s", error)
        return []
    return [] if real is None or real.shape[1] != classes or classes > MOST else list(real)


def _data_uri(pixels: np.ndarray) -> str:
    """Return (height, width, channels) uint8 as a picture inside the page: exact if it is small."""
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((LARGEST, LARGEST))
    kind = "png" if pixels.shape[0] <= 64 else "jpeg"
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **({"optimize": True} if kind == "png" else {"quality": 90}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _curves(run: RecordedRun) -> list[str]:
    return [] if (history := run.history) is None else charts.curves(history, run.result.metric)


def _distributions(run: RecordedRun) -> list[str]:
    drawn = charts.distributions(run.runs, run.result.metrics) if run.runs is not None else {}
    return [drawing.svg(f, f"distribution of {charts.on_test(metric)}") for metric, f in drawn.items()]


def _confusions(run: RecordedRun) -> list[str]:
    trained = "distilled" in run.result.rows  # else there is nothing to compare
    drawn = charts.confusions(run.confusion, run.class_names) if run.class_names and trained else {}
    return [drawing.svg(f, f"confusion, {method}".replace("_", " ")) for method, f in drawn.items()]


def safe(source: Path, draw: Callable[[], list[str]]) -> list[Markup]:
    """Return the charts of a file, or none if they cannot be drawn."""
    drawn: list[str] = []
    with or_a_line(source):
        drawn = draw()
    return [Markup(text) for text in drawn]  # matplotlib escapes the text in it
