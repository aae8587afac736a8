"""One run through the command line: what lies in its folder, and that it can be repeated."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dataset_distillation import load_distilled
from dataset_distillation.distilled.pictures import visible
from dataset_distillation.run import progress
from support.command_line import Ended, distill
from support.experiments import TINY
from support.folders import result_of

OPTIONS = [*TINY, "init=fixed", "distilled.learning_rate=0.05", "distilled.epochs=2"]
BASELINES = "evaluation.baselines=[random_real]"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:  # a busy machine would have lines of progress in the log, too
        patch.setattr(progress, "LINE_AFTER", float("inf"))
        return distill(*OPTIONS, BASELINES, "hydra.run.dir=run", folder=folder, pages=True), folder / "run"


Run = tuple[Ended, Path]


def test_the_folder_holds_what_was_promised(ended: Run) -> None:
    told, folder = ended
    assert told.code == 0, told.err
    assert {path.name for path in folder.iterdir()} - {"uncommitted.diff"} == {
        "distilled.safetensors", "result.json", "images", "config.yaml", "distill.log", "checkpoints",
        ".hydra", "run.json", "evaluation.csv", "confusion.json", "history.csv", "report.html",
    }  # fmt: skip
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"step_00000002.ckpt"}
    assert not [path for path in folder.rglob(".*.*") if path.parent.name != ".hydra"]  # nothing temporary


def test_result_json_says_what_came_out_and_how(ended: Run) -> None:
    outcome = result_of(ended[1])
    assert outcome["status"] == "finished"
    assert 0 <= outcome["validation_accuracy"] <= 1
    assert outcome["outer_steps"] == 2
    rows = {row["method"]: row for row in outcome["evaluation"]}
    assert list(rows) == ["before_training", "distilled", "random_real"]
    for row in rows.values():
        assert 0 <= row["min"] <= row["mean"] <= row["max"] <= 1
    assert [row["runs"] for row in rows.values()] == [1, 1, 10]
    assert {"command", "versions", "device", "seconds", "data_checksum"} <= set(outcome["provenance"])
    assert outcome["overrides"][-1] == BASELINES
    assert outcome["choices"]["init"] == "fixed"
    assert outcome["choices"]["dataset"] == "digits"


def test_the_config_is_kept_resolved(ended: Run) -> None:
    kept = yaml.safe_load((ended[1] / "config.yaml").read_text())
    assert kept == result_of(ended[1])["config"]
    asked = {
        "images_per_class": 1, "steps": 2, "epochs": 2, "learning_rate": 0.05, "start": "noise",
        "labels": "fixed",
    }  # fmt: skip
    assert {key: kept["distilled"][key] for key in asked} == asked
    assert "${" not in (ended[1] / "config.yaml").read_text()


def test_the_terminal_shows_a_table_and_the_log_the_rest(ended: Run) -> None:
    told, folder = ended
    assert "test accuracy, digits" in told.out
    rows = {row["method"]: row for row in result_of(folder)["evaluation"]}
    for name in ("distilled", "random_real"):
        mean, std = rows[name]["mean"], rows[name]["std"]
        [line] = [line for line in told.out.splitlines() if f"│ {name.replace('_', ' ')} " in line]
        assert f" {100 * mean:.2f}{'' if std is None else f' ± {100 * std:.2f}'} % " in line
    assert "│ any sets, this " in line
    assert rows["distilled"]["std"] is None  # one network
    assert max(map(len, told.out.splitlines())) <= 160
    assert "chosen on the validation split" in told.out
    assert "storage: 20 images, 2 per class, " in told.out
    assert (folder / "distill.log").read_text() == told.err
    lines = [line.split("] ")[1] for line in told.err.splitlines()]
    assert lines.pop(0).startswith("memory: the meta-gradient needs about ")
    counts = [line for line in lines if re.match(r"[\d,]+ train|(train|validation|test): ", line)]
    assert len(counts) == 4  # images in all, and of each class in each split
    assert [line for line in lines if line not in counts] == [
        "unroll=auto may be faster on this CPU: unroll=traced takes about half the time on LeNet",
        "distilling digits into 20 images",
        "baseline: random real",
        f"finished: {folder}",
    ]


def test_stdout_has_the_tables_alone_and_the_log_tells_how_far_the_outer_steps_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_AFTER", 0.0)
    told = distill(*OPTIONS, "trainer.progress_bar=true", "hydra.run.dir=run", folder=tmp_path)
    assert told.code == 0, told.err
    assert told.out.splitlines()[0].strip() == "test accuracy, digits"
    [line] = re.findall(r"\] (distilling: .*)", told.err)  # the next would come 30 s later
    assert re.fullmatch(r"distilling: 1 of 2, \d+ s left, loss [\d.]+", line)


def test_there_is_a_picture_of_each_step(ended: Run) -> None:
    folder = ended[1] / "images"
    assert sorted(path.name for path in folder.iterdir()) == [
        "grid.png",
        "real.png",
        "step_00.png",
        "step_01.png",
    ]
    shown = visible(load_distilled(ended[1] / "distilled.safetensors").pixels)
    for step in range(2):
        with Image.open(folder / f"step_{step:02}.png") as picture:
            assert picture.size == (10 * 120, 120)  # ten tiles of 28 × 4 pixels and a border of 4
            tile = np.asarray(picture)[4:116, 4 + 3 * 120 : 116 + 3 * 120]
        np.testing.assert_array_equal(tile[::4, ::4, 0], (shown[step, 3, 0] * 255).round().numpy())
    with Image.open(folder / "grid.png") as grid:
        assert grid.width > grid.height > 100


def test_the_same_seed_gives_the_same_bits_and_another_does_not(ended: Run, tmp_path: Path) -> None:
    for seed in (0, 1):
        told = distill(
            *OPTIONS, f"seed={seed}", "evaluation.networks=0", f"hydra.run.dir={seed}", folder=tmp_path
        )
        assert told.code == 0, told.err
        assert told.out == ""  # without an evaluation there is no table
    first, again, other = (
        load_distilled(folder / "distilled.safetensors")
        for folder in (ended[1], tmp_path / "0", tmp_path / "1")
    )
    for name in ("images", "labels", "learning_rates"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    for name, weight in first.initial_weights.items():
        assert torch.equal(weight, again.initial_weights[name])
    assert not torch.equal(first.images, other.images)
