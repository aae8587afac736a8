"""Every choice of every group composes, and every experiment runs, made tiny."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import distill
from conftest import CONF, TINY
from omegaconf import DictConfig

from dataset_distillation import config

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("experiment", "hydra")
)

#: What a choice needs beside the defaults.
NEEDED = {
    "dataset=image_folder": [f"dataset.path={CONF}", "architecture=convnet"],
    "dataset=imported": ["dataset.path=my_package.data:load", "architecture=convnet"],
    "dataset=torchvision": ["dataset.name=FashionMNIST", "architecture=convnet"],
    "dataset=cifar10": ["architecture=alexcifarnet"],
    "dataset=svhn": ["architecture=convnet"],
    "architecture=alexcifarnet": ["dataset=cifar10"],
    "architecture=imported": ["architecture.path=torch.nn:Identity"],
    "architecture=torchvision": ["architecture.name=resnet18", "dataset=cifar10"],
}

#: The sizes that make an experiment tiny; its data, initialization, objective and so on stay its own.
SIZES = [option for option in TINY if option.startswith(("outer.", "evaluation.", "trainer.", "logger"))]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_with_the_defaults(choice: str, composed: Callable[..., DictConfig]) -> None:
    group = choice.partition("=")[0]
    experiment = config.read(composed([choice, *NEEDED.get(choice, [])]))
    if group in config.GROUPS:
        assert type(getattr(experiment, group)).__module__.startswith("dataset_distillation.")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_its_command(name: str) -> None:
    lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# distill experiment={name}: ")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs(name: str, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    experiment = config.read(composed([f"experiment={name}"]))
    if experiment.dataset.name != "digits" and not os.environ.get("DATA_DIR"):
        pytest.skip("needs real data sets: set DATA_DIR")
    ended = distill(f"experiment={name}", *SIZES, "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended.err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["choices"]["experiment"] == name
    pictures = list((tmp_path / "run" / "images").glob("step_*.png"))
    assert len(pictures) == experiment.distilled.steps
