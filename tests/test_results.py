"""The published results: what the pages say is what the files hold, and the artifacts give it again."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image

import dataset_distillation as dd
from dataset_distillation.cli import pages
from dataset_distillation.experiment import compose
from dataset_distillation.experiment.digest import adopt, differences
from dataset_distillation.report import seeds
from dataset_distillation.report.runs import RecordedRun
from support.command_line import distill_evaluate
from support.folders import result_of
from support.report_folders import write_run
from tools import publish

VALIDATION = "evaluation.validation_"
PUBLISHED = sorted(path.parent for path in publish.RESULTS.rglob("result.json"))
DISTILLED = [folder for folder in PUBLISHED if not RecordedRun(folder).judges]
FIRST = {folder.parent: folder for folder in reversed(DISTILLED)}  # of each experiment


def test_every_table_is_made_from_the_files(tmp_path: Path) -> None:
    """Where this fails, `make results` makes the pages again."""
    shutil.copytree(publish.RESULTS, tmp_path / "results")  # pages name the folders relative to themselves
    written = pages.main([str(tmp_path / "results"), "--output", str(tmp_path / "docs" / "results")])
    for path in written:
        committed = publish.DOCUMENTS / path.name
        assert committed.exists()
        if path.suffix == ".md":
            assert committed.read_text() == path.read_text()
    page = publish.README.read_text()
    assert publish.PLACE.findall(page)
    assert publish.filled(page) == page


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_a_published_run_can_be_repeated(folder: Path) -> None:
    run = RecordedRun(folder)
    made = run.result.provenance
    assert run.result.status == "finished"
    assert made.git_commit
    assert not made.git_dirty
    assert made.command.startswith(f"distill{'-evaluate' * run.judges} ")
    assert shlex.split(made.command)[1:] == made.overrides
    assert made.hardware["processor"]
    assert run.runs is not None
    if not run.judges:
        assert folder.name == f"seed_{made.seed}"
    if not run.judges and folder.parents[1] == publish.RESULTS and folder.name == "seed_0":
        assert run.distilled is not None
        assert (folder / "grid.png").exists()
    if not run.judges and run.distilled is not None:
        assert '"/' not in json.dumps(run.distilled.metadata)  # a folder of the machine
    assert '"/' not in (folder / "result.json").read_text()


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(folder, marks=[] if folder in FIRST.values() else pytest.mark.slow)
        for folder in DISTILLED
    ],
    ids=lambda folder: "/".join(folder.parts[-2:]),
)
def test_a_published_run_is_of_its_recipe_as_it_stands(
    folder: Path, composed: Callable[[list[str]], DictConfig]
) -> None:
    """Its command gives the same values today, without what it says of validation: the recipe says that."""
    run = RecordedRun(folder)
    asked = [each for each in run.result.provenance.overrides if not each.startswith(VALIDATION)]
    config = composed(asked)
    adopt(config, run.result.config)
    e, here = compose.read(config), compose.resolved(config)
    changed = differences(e, here, run.result.config)
    assert [
        each for each in changed if each.startswith(VALIDATION) or not seeds.is_free(each.partition("=")[0])
    ] == []


def test_the_published_files_are_small() -> None:
    assert sum(path.stat().st_size for path in publish.RESULTS.rglob("*") if path.is_file()) <= 15e6


@pytest.mark.parametrize(("last", "error"), [(140, 8), (7, 0)])
def test_a_picture_is_made_small(last: int, error: int) -> None:
    """In gray to the nearest of sixteen levels; in up to 128 colors without loss."""
    pixels = np.full((2, 3, 4), 140, np.uint8)
    pixels[0, :, :3], pixels[0, 0, :3], pixels[..., 3] = 0, 255, 255
    pixels[1, 2, 2] = last
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    with Image.open(io.BytesIO(publish.compact(buffer.getvalue()))) as small:
        assert small.mode == "P"
        found = np.asarray(small.convert("RGB")).astype(int)
    assert abs(found - pixels[..., :3]).max() <= error
    assert (found[0] == pixels[0, :, :3]).all()


def test_a_published_set_is_found_by_its_name() -> None:
    distilled = dd.load_distilled("demo", seed=0)
    assert distilled.images.shape == (1, 10, 1, 28, 28)
    with pytest.raises(
        dd.UserError, match=r"^no published set of demo with seed 77; there are: .*demo \(seeds 0"
    ):
        dd.load_distilled("demo", seed=77)


@pytest.mark.parametrize("experiment", ["demo", "mnist_fixed_10"])
def test_a_published_set_gives_its_accuracy_again(experiment: str, tmp_path: Path) -> None:
    """The distilled images are the same bits, but another processor sums in another order."""
    if experiment != "demo" and "DATA_DIR" not in os.environ:
        pytest.skip("MNIST is not at hand")
    folder = publish.RESULTS / experiment / "seed_0"
    asked = ["logger=none", "trainer.threads=1", "trainer.accelerator=cpu", "hydra.run.dir=again"]
    ended = distill_evaluate(f"artifact={folder / 'distilled.safetensors'}", *asked, folder=tmp_path)
    assert ended.code == 0, ended.err
    before, again = (RecordedRun(where).result.rows["distilled"] for where in (folder, tmp_path / "again"))
    assert again.mean == pytest.approx(before.mean, abs=0.005)


def test_what_is_published_names_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"seed": 3, "dataset": {"root": "/home/me/data"}, "init": {"pretraining": {"folder": "/pools"}}}
    provenance = {"command": "distill dataset.root=/home/me/data", "attempts": [{
        "started": "", "seconds": 1, "cpu_seconds": 1, "git_commit": None, "peak_memory_mb": None,
        "peak_gpu_memory_mb": None, "host": "here",
    }]}  # fmt: skip
    asked = ["experiment=demo", "seed=3", "distilled.epochs=2", "dataset.root=/home/me/data"]
    folder = write_run(tmp_path / "run", config=config, provenance=provenance, overrides=asked)
    Image.new("RGBA", (2, 2), "white").save(folder / "images" / "grid.png")
    content = result_of(folder)
    content["choices"]["experiment"] = "demo"
    accuracy = dict.fromkeys(("accuracy_mean", "accuracy_std", "accuracy_min"), 0.5)
    content["pool"] = {"source": "MNIST", "networks": 1, "folder": "/pools/mnist", **accuracy}
    (folder / "result.json").write_text(json.dumps(content))
    monkeypatch.setattr(publish, "RESULTS", tmp_path / "results")
    target = publish.publish(folder)
    assert target == tmp_path / "results" / "demo" / "distilled.epochs=2" / "seed_3"
    text = (target / "result.json").read_text()
    assert not any(word in text for word in ("/home", "/pools", "here"))
    assert RecordedRun(target).command == "distill experiment=demo seed=3 distilled.epochs=2"
    assert RecordedRun(target).result.value("dataset.root") == "data"
    assert sorted(path.name for path in target.iterdir()) == ["evaluation.csv", "result.json"]  # of a point
    content["overrides"].remove("distilled.epochs=2")
    (folder / "result.json").write_text(json.dumps(content))
    judged = tmp_path / "results" / "judged" / "demo" / "seed_3" / "architecture=mlp"
    for stays in (False, True):  # a new set has not been judged; the same set again has
        judged.mkdir(parents=True, exist_ok=True)
        assert (publish.publish(folder) / "distilled.safetensors").exists()
        assert judged.exists() == stays
    for seed, numbers in ((3, False), (0, False), (0, True)):
        content["config"]["seed"] = seed
        (folder / "result.json").write_text(json.dumps(content))
        target = publish.publish(folder, numbers)
        assert (target / "distilled.safetensors").exists() == (not numbers)
        assert (target / "grid.png").exists() == (seed == 0 and not numbers)
    content["status"] = "interrupted"
    (folder / "result.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit, match="not a finished run"):
        publish.publish(folder)
