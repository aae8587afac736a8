"""Runs and artifacts of older versions keep the meaning that their values had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from dataset_distillation import load_distilled
from dataset_distillation.datasets import Dataset
from dataset_distillation.evaluation.options import Evaluation
from dataset_distillation.experiment.digest import absences
from dataset_distillation.run.records import Result
from support.command_line import distill, distill_evaluate
from support.experiments import TINY
from support.folders import result_of

#: Keys that came later, with what their absence means.
LATER = absences(Dataset) | absences(Evaluation)
AS_BEFORE = ["seed=3", *(f"dataset.{key}=null" for key in absences(Dataset))]


def older(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as a version without the later keys wrote it."""
    return {
        key: older(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in LATER
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as an older version made it and left it behind, unfinished."""
    folder = tmp_path_factory.mktemp("older") / "run"
    evaluation = [f"evaluation.{f.name}={LATER[f.name]}" for f in fields(Evaluation) if f.name in LATER]
    asked = [*TINY, *AS_BEFORE, *(e.replace("None", "null") for e in evaluation)]
    ended = distill(*asked, "hydra.run.dir=run", folder=folder.parent)
    assert ended.code == 0, ended.err
    (folder / "result.json").unlink()
    record = json.loads((folder / "run.json").read_text())
    record |= {"config": older(record["config"]), "overrides": [*TINY, "seed=3", "dataset=digits"]}
    (folder / "run.json").write_text(json.dumps(record))
    made = load_distilled(folder / "distilled.safetensors")
    replace(made, metadata=made.metadata | {"config": older(made.metadata["config"])}).save(
        folder / "distilled.safetensors"
    )
    return folder


def test_an_older_run_goes_on_as_it_began(run: Path) -> None:
    before = load_distilled(run / "distilled.safetensors")
    ended = distill(f"resume={run}", folder=run.parent)
    assert ended.code == 0, ended.err
    result = Result.model_validate_json((run / "result.json").read_bytes())
    for kind, group in ((Dataset, "dataset"), (Evaluation, "evaluation")):
        assert {key: result.config[group][key] for key in absences(kind)} == absences(kind)
    assert result.outer_steps == 2
    assert before.images.equal(load_distilled(run / "distilled.safetensors").images)
    replace(before).save(run / "distilled.safetensors")  # for the next test


def test_a_run_from_before_the_augmentations_is_shown(tmp_path: Path) -> None:
    results = Path(__file__).parents[2] / "results" / "demo" / "seed_0"
    shutil.copytree(results, tmp_path / "run")
    asked = ["experiment=demo", "hydra.run.dir=run"]
    config = result_of(tmp_path / "run")["config"]
    assert "augmentation" not in config
    ended = distill(*asked, "augmentation=dsa", folder=tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "augmentation=dsa (it has none)" in ended.err
    ended = distill(*asked, folder=tmp_path)
    assert ended.code == 0, ended.err
    assert "finished already" in ended.err


def test_an_older_artifact_is_judged_as_it_was_made(run: Path, tmp_path: Path) -> None:
    ended = distill_evaluate(
        f"artifact={run / 'distilled.safetensors'}", "logger=none", "hydra.run.dir=judged", folder=tmp_path
    )
    assert ended.code == 0, ended.err
    config = result_of(tmp_path / "judged")["config"]
    for kind, group in ((Dataset, "dataset"), (Evaluation, "evaluation")):
        assert {key: config[group][key] for key in absences(kind)} == absences(kind)
