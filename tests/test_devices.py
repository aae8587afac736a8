"""Several processes share the networks of one outer step, and distil what one process would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import distill
from conftest import TINY

from dataset_distillation import load_distilled, pipeline
from dataset_distillation.config import Experiment
from dataset_distillation.errors import ConfigError

Make = Callable[..., Experiment]
OPTIONS = [
    *TINY,
    "init.networks=4",
    "outer.steps=3",
    "evaluation.networks=0",
    "unroll.batch_networks=off",
]


def test_two_processes_distil_what_one_does(tmp_path: Path) -> None:
    """Each takes two of the four networks; the clip holds for each network by itself and binds."""
    options = [*OPTIONS, "outer.clip=0.01"]
    assert distill(*options, "hydra.run.dir=one", folder=tmp_path).code == 0
    two = ["trainer.devices=2", "trainer.strategy=ddp", "hydra.run.dir=two"]
    command = [str(Path(sys.executable).parent / "distill"), *options, *two]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    one, two = (load_distilled(tmp_path / name / "distilled.safetensors") for name in ("one", "two"))
    for name in ("images", "learning_rates"):
        torch.testing.assert_close(getattr(two, name), getattr(one, name), rtol=0, atol=1e-6)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")]
    assert [result["status"] for result in results] == ["finished", "finished"]
    curves = [(tmp_path / name / "history.csv").read_text() for name in ("one", "two")]
    assert len(curves[0].splitlines()) == len(curves[1].splitlines())  # one process writes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.devices=2"], r"trainer.devices=2: several need a process each; set trainer.strategy=ddp"),
        (
            ["trainer.devices=3", "trainer.strategy=ddp"],
            r"init.networks=4: must be a multiple of trainer.devices=3",
        ),
        (["trainer.devices=0"], r"trainer.devices=0: must be greater than 0"),
        (["trainer.strategy=fsdp"], r"trainer.strategy=fsdp: must be one of auto, ddp"),
    ],
)
def test_what_cannot_be_shared_is_refused(options: list[str], message: str, experiment: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment("init.networks=4", *options)


def test_a_multirun_is_refused(tmp_path: Path) -> None:
    options = [*OPTIONS, "trainer.devices=2", "trainer.strategy=ddp", "seed=0,1"]
    ended = distill("-m", *options, folder=tmp_path)
    assert ended.code != 0
    assert "trainer.devices=2: in a multirun the launcher must start the processes" in ended.err + ended.out
    assert not list(tmp_path.glob("sweeps/**/distilled.safetensors"))


def test_deterministic_algorithms_are_chosen_run_by_run(experiment: Make) -> None:
    for chosen in (True, False):
        pipeline.prepare(experiment(f"trainer.deterministic={chosen}"))
        assert torch.are_deterministic_algorithms_enabled() == chosen
