"""A multirun: a folder a job, a table over all, and what becomes of a job that fails."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas
import pytest
from command_line import Ended, distill
from conftest import TINY

from dataset_distillation import pipeline
from dataset_distillation.report import table


def result(job: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((job / "result.json").read_text())
    return content


Sweep = tuple[Ended, Path]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("sweep")
    swept = ["distilled.steps=1,0", "seed=3,4", "hydra.sweep.dir=grid"]
    return distill("-m", *TINY, *swept, folder=folder), folder / "grid"


def test_a_job_that_fails_stops_no_other(sweep: Sweep) -> None:
    ended, folder = sweep
    assert ended.code == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "0",
        "1",
        "2",
        "3",
        "multirun.yaml",
        "sweep.csv",
    ]
    assert [result(folder / job)["status"] for job in "0123"] == ["finished"] * 2 + ["failed"] * 2
    assert "Traceback" not in ended.err
    for job, seed in zip("23", "34", strict=True):
        assert (
            (folder / job / "distill.log")
            .read_text()
            .endswith("] distilled.steps=0: must be greater than 0\n")
        )
        assert result(folder / job)["config"]["seed"] == int(seed)


def test_the_table_has_a_column_for_each_swept_key(sweep: Sweep) -> None:
    ended, folder = sweep
    rows = pandas.read_csv(folder / "sweep.csv")
    assert list(rows) == [
        "job", "distilled.steps", "seed", "status", "validation", "mean", "std", "min", "max", "seconds",
        "error",
    ]  # fmt: skip
    assert rows["distilled.steps"].tolist() == [1, 1, 0, 0]
    assert rows["seed"].tolist() == [3, 4, 3, 4]
    assert rows["error"].tolist()[2:] == ["distilled.steps=0: must be greater than 0"] * 2
    for job in (0, 1):
        outcome = result(folder / str(job))
        assert rows["validation"][job] == outcome["validation_accuracy"]
        assert rows["mean"][job] == pytest.approx(outcome["evaluation"][1]["mean"])
    assert "job 3: distilled.steps=0: must be greater than 0" in ended.out.splitlines()
    assert len([line for line in ended.out.splitlines() if "│ finished │" in line]) == 2


def test_a_job_that_was_killed_is_missing(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    done = {"status": "finished", "overrides": ["seed=1", "init=fixed"], "evaluation": []}
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "result.json").write_text(json.dumps(done))
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / "result.json").write_text(json.dumps(done | {"overrides": ["seed=2", "init=fixed"]}))
    (tmp_path / "notes").mkdir()
    rows = table.sweep(tmp_path)
    assert rows["job"].tolist() == [0, 1, 10]
    assert rows["status"].tolist() == ["missing", "finished", "finished"]
    assert rows["seed"].tolist() == ["", "1", "2"]
    assert "init" not in rows


def test_ctrl_c_ends_the_multirun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pipeline.run

    def interrupted(*arguments: Any) -> dict[str, Any]:
        return run(*arguments) | {"status": "interrupted"}

    monkeypatch.setattr(pipeline, "run", interrupted)
    ended = distill("-m", *TINY, "seed=0,1", "hydra.sweep.dir=pair", folder=tmp_path)
    assert ended.code == 130
    assert [path.name for path in (tmp_path / "pair").iterdir() if path.is_dir()] == ["0"]
    assert (tmp_path / "pair" / "sweep.csv").exists()


def test_parallel_jobs_do_not_mix_their_results(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=grid"]
    ended = distill(
        "-m", *TINY, *parallel, "seed=3,4", "distilled.steps=1,2", "evaluation.networks=0", folder=tmp_path
    )
    assert ended.code == 0, ended.err
    rows = pandas.read_csv(tmp_path / "grid" / "sweep.csv")
    assert sorted(rows[["seed", "distilled.steps"]].to_numpy().tolist()) == [[3, 1], [3, 2], [4, 1], [4, 2]]
    for job, seed, steps in rows[["job", "seed", "distilled.steps"]].itertuples(index=False):
        folder = tmp_path / "grid" / str(job)
        outcome = result(folder)
        assert outcome["status"] == "finished"
        assert (outcome["config"]["seed"], outcome["config"]["distilled"]["steps"]) == (seed, steps)
        assert {f"seed={seed}", f"distilled.steps={steps}"} <= set(outcome["overrides"])
        assert len(list((folder / "images").glob("step_*.png"))) == steps


def test_a_refused_sweep_into_an_old_folder_says_why(sweep: Sweep) -> None:
    folder = sweep[1]
    for job in folder.iterdir():
        os.utime(job, (0, 0))
    ended = distill("-m", *TINY, "distilled.stepz=1,2", f"hydra.sweep.dir={folder}", folder=folder.parent)
    assert ended.code == 2
    assert ended.err == "distill: distilled.stepz: no such key; did you mean steps?\n"
