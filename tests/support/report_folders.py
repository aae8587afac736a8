"""Run folders written by hand, in the form in which runs leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from PIL import Image

from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.report import paper
from dataset_distillation.report.runs import below

#: What must be shown as it is, and neither run nor typeset.
HOSTILE = "<script>alert('$x$')</script> & \"b\""
CLASSES = ["zero", HOSTILE, "two"]
#: Metadata that every artifact has.
MADE_FOR: dict[str, Any] = {"architecture": "mlp", "inner_optimizer": "sgd", "config": {}}


def pages(folder: Path) -> dict[str, str]:
    """The paper's tables and the other pages of the runs in `folder`, by file; no picture is drawn."""
    return paper.pages(below(folder), folder / "out")


def row(method: str, accuracies: np.ndarray, ours: np.ndarray | None = None) -> dict[str, Any]:
    spread = {
        "mean": float(accuracies.mean()),
        "std": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None,
        "min": float(accuracies.min()),
        "max": float(accuracies.max()),
    }
    apart = None if ours is None else float((ours - accuracies).mean())
    return {
        "method": method, **spread, "runs": len(accuracies), "networks": len(accuracies), "sets": 1,
        "difference": apart, "low": apart and apart - 0.01, "high": apart and apart + 0.01,
        "learning_rate": 0.03, "epochs": 3, "distance": None, "k": None, "seconds": 1.5,
        "metrics": {"accuracy": spread},
    }  # fmt: skip


def result(**changes: Any) -> dict[str, Any]:
    """A `result.json` of a finished run over five held-out networks."""
    ours = np.linspace(0.8, 0.9, 5)
    return {
        "status": "finished",
        "metric": "accuracy",
        "validation_accuracy": 0.87,
        "outer_steps": 30,
        "evaluation": [row("distilled", ours), row("random_real", ours - 0.4, ours)],
        "selection": "validation",
        "provenance": {"command": f"distill 'dataset={HOSTILE}'", "started": "2020-01-01", "seconds": 2.5},
        "choices": {"dataset": "mnist", "architecture": "lenet", "init": "random", "objective": "standard"},
        "overrides": [],
        "config": {
            "seed": 0,
            "outer": {"steps": 30},
            "distilled": {"steps": 2, "epochs": 3, "images_per_class": 1},
        },
    } | changes


def judged(**changes: Any) -> dict[str, Any]:
    """Changes that make it the result of `distill-evaluate`: ten epochs in batches of two."""
    training = {"epochs": 10, "order": "learned", "learning_rate": 0.1, "batch_size": 2}
    config = {"seed": 0, "outer": {"steps": 30}, "artifact": "made.safetensors", "training": training}
    provenance = {"command": "distill-evaluate artifact=made.safetensors", "seconds": 2.5}
    names = ["nought", "one", "two"]
    told = {"config": config, "provenance": provenance, "class_names": names, "validation_accuracy": None}
    return told | {"outer_steps": None} | changes


def write_run(folder: Path, **changes: Any) -> Path:
    """A folder with every file that a page is made of: two steps of three classes, three epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    outcome = {key: value for key, value in result(**changes).items() if value is not None}
    (folder / "result.json").write_text(json.dumps(outcome))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 1, 8, 8, generator=generator)
    rates = torch.rand(3, 2, generator=generator)
    metadata = {**MADE_FOR, "class_names": CLASSES, "mean": [0.0], "std": [1.0]}
    DistilledSet(images, torch.arange(3).repeat(2, 1), rates, {}, metadata).save(
        folder / "distilled.safetensors"
    )
    (folder / "images").mkdir(exist_ok=True)
    real = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)  # two examples of three classes
    Image.fromarray(real).save(folder / "images" / "real.png")
    steps = np.arange(9, 100, 10)
    history = pandas.DataFrame({"step": steps, "outer/loss": 1 / steps, "outer/meta_gradient_norm": steps})
    history.loc[4::5, "validation/accuracy"] = [0.7, 0.87]
    history.loc[4::5, "learning_rates/epoch_0_step_0"] = [0.1, 0.2]
    history.to_csv(folder / "history.csv", index=False)
    runs = [
        {"method": r["method"], "set": 0, "network": j, "accuracy": accuracy}
        for r in outcome["evaluation"]
        for j, accuracy in enumerate(np.linspace(r["min"], r["max"], r["runs"]))
    ]
    pandas.DataFrame(runs).to_csv(folder / "evaluation.csv", index=False)
    matrices = {"before_training": np.full((3, 3), 1 / 3).tolist(), "distilled": np.eye(3).tolist()}
    (folder / "confusion.json").write_text(json.dumps(matrices))
    return folder
