"""The config of an artifact as that of distill-evaluate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

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


def test_a_folder_of_somebody_else_is_none_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(*_: object, **__: object) -> None:
        raise PermissionError("Permission denied")

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(os, "stat", stat)
    assert "root" not in experiment(metadata(root="/home/other/data"), {})["dataset"]


def test_the_folder_of_the_data_may_be_named_from_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "there").mkdir()
    for root, kept in (("~/there", True), ("~/nowhere", False)):
        assert ("root" in experiment(metadata(root=root), {})["dataset"]) == kept


def test_images_are_normalized_as_they_were_whatever_was_configured() -> None:
    dataset = experiment(metadata(), {})["dataset"]
    assert (dataset["mean"], dataset["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


@pytest.mark.parametrize(
    ("path", "arguments"),
    [("other/nets.py:MyNet", {"width": 64}), ("package.nets:MyNet", {"width": 64}), ("nets.py:Other", None)],
)
def test_named_again_the_authors_own_code_keeps_its_arguments(
    path: str, arguments: dict[str, int] | None
) -> None:
    of = metadata()
    of["config"]["architecture"] = {"path": "nets.py:MyNet", "arguments": {"width": 64}, "weights": "own"}
    of["architecture"] = "imported"
    made = experiment(of, {"architecture": "imported", "architecture.path": path})
    assert made.get("architecture", {}).get("arguments") == arguments
    assert made["defaults"] == [{"override /dataset": "mnist"}]
    assert "path" not in made.get("architecture", {})
