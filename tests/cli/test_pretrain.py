"""distill-pretrain, and what the runs that draw from its pool say of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import safetensors
import yaml

from dataset_distillation.pools.pool import Pool
from dataset_distillation.pools.pretraining import Member
from support.command_line import distill, distill_evaluate, distill_pretrain
from support.experiments import TINY
from support.folders import result_of

POOL = [
    "architecture=mlp",
    "architecture.width=16",
    "init=pretrained",
    "init.pool_size=2",
    "init.pretraining.workers=1",
]


def test_runs_draw_from_its_pool_and_say_how_good_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOL_DIR", "pools")
    ended = distill_pretrain(*TINY, *POOL, folder=tmp_path)
    assert ended.code == 0, ended.err
    folder = Path(ended.out.strip())
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert {path.stem for path in written} == {"init-0", "init-1", "validation-0", "held-out-0", "held-out-1"}
    assert distill(*TINY, *POOL, "hydra.run.dir=run", folder=tmp_path, pages=True).code == 0
    asked = ["artifact=run/distilled.safetensors", "hydra.run.dir=judged"]
    judged = distill_evaluate(*asked, folder=tmp_path, pages=True)
    assert judged.code == 0, judged.err
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")} == written
    for run, number in (("run", 5), ("judged", 2)):  # held-out networks judge
        accuracies = [accuracy(path) for path in written if run == "run" or path.stem.startswith("held-out")]
        pool = result_of(tmp_path / run)["pool"]
        assert (pool["folder"], pool["networks"]) == (str(folder), number)
        assert pool["accuracy_mean"] == pytest.approx(sum(accuracies) / number)
        said = f"min {100 * min(accuracies):.2f} %"
        assert said in (tmp_path / run / "report.html").read_text()
        assert said.replace("min", "the worst") in (tmp_path / run / "distill.log").read_text()


def test_interrupted_it_keeps_what_was_trained_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = Pool.save, []

    def interrupted(pool: Pool, name: str, member: Member) -> None:
        save(pool, name, member)
        saved.append(name)
        if len(saved) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setenv("POOL_DIR", "pools")
    monkeypatch.setattr(Pool, "save", interrupted)
    ended = distill_pretrain(*TINY, *POOL, folder=tmp_path)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == "distill-pretrain: interrupted (SIGINT)"
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("pools/*/*.safetensors")}
    assert len(first) == 2
    assert distill_pretrain(*TINY, *POOL, folder=tmp_path).code == 0
    assert len(saved) == len(set(saved)) == 5
    assert {path: path.stat().st_mtime_ns for path in first} == first


def accuracy(member: Path) -> float:
    with safetensors.safe_open(member, "pt") as file:
        return float(json.loads(file.metadata()["member"])["accuracy"])


def test_the_config_is_shown_and_nothing_is_trained(tmp_path: Path) -> None:
    ended = distill_pretrain("--cfg", "job", "init=pretrained", "init.pool_size=3", folder=tmp_path)
    assert (ended.code, ended.err, list(tmp_path.iterdir())) == (0, "", [])
    assert yaml.safe_load(ended.out)["init"]["pool_size"] == 3


def test_an_init_without_a_pool_is_refused(tmp_path: Path) -> None:
    ended = distill_pretrain(*TINY, "init=random", folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "distill-pretrain: init: there is nothing to train; use init=pretrained or init=fixed_pretrained\n"
    )
    assert "usage: distill-pretrain" in distill_pretrain("--help", folder=tmp_path).out
