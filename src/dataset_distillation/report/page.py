"""`report.html`: one file that shows a run, or a multirun, to people. It needs no network and no scripts.

A function of the files in the folder alone, so that it can be made again, anywhere.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from omegaconf import OmegaConf
from PIL import Image

from dataset_distillation.distilled.pictures import captions, visible
from dataset_distillation.files import write
from dataset_distillation.objectives import is_loss
from dataset_distillation.report import charts
from dataset_distillation.report.methods import INTERVAL, chosen, protocol, storage
from dataset_distillation.report.numbers import difference, spread, value
from dataset_distillation.report.runs import RunFolder, jobs, swept

PAGE = "report.html"
LARGEST = 112  # pixels of a picture's side in the page; larger ones are made smaller
NO_RIVALS = ("before_training", "distilled")  # every other row is a baseline
FIRST_STEPS = 10  # that are shown at once; the others unfold


def write_run(folder: Path) -> Path:
    """The page of the run in `folder`."""
    run = RunFolder(folder)
    context = {
        "run": run,
        "images": _images(run),
        "curves": [] if (history := run.history) is None else _safe(charts.curves(history, run.metrics[0])),
        "distributions": _safe(_distributions(run)),
        "confusion": _safe(_confusions(run)),
        "protocol": protocol(run.result),
        "interval": INTERVAL,
        "storage": (sizes := run.result.get("storage")) and storage(sizes),
        "config_text": OmegaConf.to_yaml(OmegaConf.create(run.config)),
        "first_steps": FIRST_STEPS,
        "longest": longest([run]),
    }
    return _render("run.html", folder, context)


def write_sweep(folder: Path) -> Path:
    """The page of the multirun in `folder`: one row a job."""
    runs = jobs(folder)
    keys = swept(runs)
    context = {
        "runs": runs,
        "keys": keys,
        "charts": _safe(_against(runs, keys)),
        "rivals": list(dict.fromkeys(m for run in runs for m in run.evaluation if m not in NO_RIVALS)),
        "protocols": list(dict.fromkeys(filter(None, (protocol(run.result) for run in runs)))),
        "others": list(dict.fromkeys(name for run in runs for name in run.metrics[1:])),
        "page": PAGE,
        "longest": longest(runs),
    }
    return _render("sweep.html", folder, context)


def _render(template: str, folder: Path, context: dict[str, Any]) -> Path:
    loader = jinja2.PackageLoader("dataset_distillation.report")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "value": value,
        "spread": spread,
        "name": lambda text: text.replace("_", " "),
        "difference": difference,
        "chosen": chosen,
    }
    text = environment.get_template(template).render(folder=folder.resolve().name, **context)
    write(folder / PAGE, text.encode())
    return folder / PAGE


def longest(runs: list[RunFolder]) -> float:
    """What the longest bar of a table stands for: all of a share, or the largest loss."""
    losses = [row["mean"] for run in runs if is_loss(run.metrics[0]) for row in run.evaluation.values()]
    return max((mean for mean in losses if mean is not None), default=1) or 1


def _images(run: RunFolder) -> dict[str, Any]:
    """The distilled images by step, with their learning rates, and real ones: above, or beside each class.

    A column has one class where a step has one image of each; where it has several, a row has.
    """
    distilled = run.distilled
    if distilled is None:
        return {}
    names = distilled.metadata["class_names"]
    pixels = (visible(distilled.pixels) * 255).round().byte().movedim(-3, -1).numpy()
    real = [] if run.real is None or run.real.shape[1] != len(names) else list(run.real)
    examples = [[(_data_uri(image), name) for image, name in zip(row, names, strict=True)] for row in real]
    columns = pixels.shape[1] // len(names)
    beside = [list(of_class) for of_class in zip(*examples, strict=True)] if columns > 1 else []
    steps = []
    for step, (images, labels) in enumerate(zip(pixels, distilled.labels, strict=True)):
        tiles = [(_data_uri(i), c) for i, c in zip(images, captions(labels, names), strict=True)]
        rows = [(shown, tiles[c * columns : (c + 1) * columns]) for c, shown in enumerate(beside)]
        rates = distilled.learning_rates[:, step].tolist()
        steps.append({"rates": rates, "rows": rows or [([], tiles)]})
    number = pixels.shape[0] * pixels.shape[1]
    above = [] if beside else examples
    return {"steps": steps, "real": above, "beside": beside, "number": number, "side": pixels.shape[2]}


def _data_uri(pixels: np.ndarray) -> str:
    """(height, width, channels) uint8 as a picture inside the page: exact while that is small."""
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((LARGEST, LARGEST))
    kind = "png" if pixels.shape[0] <= 64 else "jpeg"
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **({"optimize": True} if kind == "png" else {"quality": 90}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _distributions(run: RunFolder) -> list[str]:
    drawn = {} if run.runs is None else charts.distributions(run.runs, run.metrics)
    return [charts.svg(f, f"distribution of {charts.on_test(metric)}") for metric, f in drawn.items()]


def _confusions(run: RunFolder) -> list[str]:
    drawn = charts.confusions(run.confusion, run.class_names) if run.class_names else {}
    return [charts.svg(f, f"confusion, {method}".replace("_", " ")) for method, f in drawn.items()]


def _against(runs: list[RunFolder], keys: list[str]) -> list[str]:
    """The test metric against the number of images and of steps, if jobs differ in it (Figures 4 and 5)."""
    drawn = []
    for title, count, counted in (
        ("distilled images", images_of, ("distilled.images_per_class", "distilled.steps")),
        (
            "inner steps",
            lambda run: run.inner_steps,
            ("distilled.steps", "distilled.epochs", "training.epochs"),
        ),
    ):
        others = [key for key in keys if key not in ("seed", next((c for c in counted if c in keys), None))]
        judged = [run for run in runs if run.evaluation.get("distilled", {}).get("mean") is not None]
        found = [(x, run) for run in judged if (x := count(run)) is not None]
        for metric in dict.fromkeys(run.metrics[0] for _, run in found):
            points = [(x, run) for x, run in found if run.metrics[0] == metric]
            if len({x for x, _ in points}) > 1:
                drawn.append(charts.against(_series(points, others), charts.on_test(metric), title))
    return drawn


def _series(found: list[tuple[int, RunFolder]], keys: list[str]) -> list[charts.Series]:
    """A line for each combination of the values of `keys`; runs with the same x are one point."""
    lines: dict[str, dict[int, list[dict[str, float]]]] = {}
    for x, run in found:
        name = ", ".join(f"{key.removeprefix('distilled.')}={run.asked.get(key, '')}" for key in keys)
        lines.setdefault(name, {}).setdefault(x, []).append(run.evaluation["distilled"])
    unit = 1 if is_loss(found[0][1].metrics[0]) else 100
    series = []
    for name, line in lines.items():
        points = dict(sorted(line.items()))
        means = [np.array([row["mean"] for row in rows]) for rows in points.values()]
        within = [np.mean([row["std"] ** 2 for row in rows]) for rows in points.values()]
        stds = [unit * np.sqrt(inner + mean.var()) for inner, mean in zip(within, means, strict=True)]
        series.append(charts.Series(name, list(points), [unit * mean.mean() for mean in means], stds))
    return series


def images_of(run: RunFolder) -> int | None:
    """The number of distilled images."""
    return None if run.distilled is None else run.distilled.images.shape[:2].numel()


def _safe(drawn: list[str]) -> list[Markup]:
    return [Markup(text) for text in drawn]  # matplotlib escapes what stands in it
