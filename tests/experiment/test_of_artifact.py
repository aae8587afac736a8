"""The config of an artifact as that of distill-evaluate."""

from __future__ import annotations

from typing import Any

from dataset_distillation.experiment.of_artifact import experiment


def metadata(**dataset: Any) -> dict[str, Any]:
    """Of an artifact of MNIST in color, whose mean was measured because conf/ has that of gray images."""
    config = {"dataset": {"mean": [0.13], "std": [0.31], "channels": 3, **dataset}}
    return {
        "config": {**config, "distilled": {}, "evaluation": {}, "seed": 0},
        "choices": {"dataset": "mnist"},
        "class_names": ["0", "1"],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
    }


def test_images_are_normalized_as_they_were_whatever_was_configured() -> None:
    dataset = experiment(metadata(), set())["dataset"]
    assert (dataset["mean"], dataset["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
