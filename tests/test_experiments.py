"""Every choice of every group composes, and every experiment runs, made tiny."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import trees
from command_line import distill
from conftest import CONF, TINY
from omegaconf import DictConfig
from torchvision import models

from dataset_distillation import config, load_distilled
from dataset_distillation.architectures.convnet import ConvNet
from dataset_distillation.init.pretrained import Pretrained

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("experiment", "hydra", "wandb")
)

#: What a choice needs beside the defaults.
NEEDED = {
    "dataset=image_folder": [f"dataset.path={CONF}", "architecture=convnet"],
    "dataset=imported": ["dataset.path=my_package.data:load", "architecture=convnet"],
    "dataset=torchvision": ["dataset.name=FashionMNIST", "architecture=convnet"],
    "dataset=linear_regression": [
        "objective=regression",
        "architecture=linear",
        "distilled.labels=learned",
        "evaluation.baselines=[]",
    ],
    "dataset=cifar10": ["architecture=alexcifarnet"],
    "dataset=svhn": ["architecture=convnet"],
    "dataset=voc2007": ["architecture=alexnet"],
    "dataset=cub200": ["architecture=convnet"],
    "objective=regression": [
        "dataset=linear_regression",
        "architecture=linear",
        "distilled.labels=learned",
        "evaluation.baselines=[]",
    ],
    "objective=adaptation": ["init=pretrained", "dataset@init.source=usps"],
    "objective=attack": ["init=pretrained", "distilled.steps=1", "distilled.epochs=1"],
    "architecture=alexcifarnet": ["dataset=cifar10"],
    "architecture=alexnet": ["dataset=cub200"],
    "init=checkpoint": ["init.weights=AlexNet_Weights.IMAGENET1K_V1"],
    "architecture=imported": ["architecture.path=torch.nn:Identity"],
    "architecture=torchvision": ["architecture.name=resnet18", "dataset=cifar10"],
}

#: The sizes that make an experiment tiny; its data, initialization, objective and so on stay its own.
#: A pool of seven networks, each trained on a twentieth of its source.
POOL = [
    "dataset.validation=0.95",
    "init.networks=1",
    "init.pool_size=2",
    "init.pretraining.epochs=1",
    "init.pretraining.folder=pools",
    "init.pretraining.workers=1",
]
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


#: Table 3 with what is quick: VOC's twenty classes on a small network, AlexNet on three species of birds.
SMALLER = {
    "voc_alexnet": [
        "architecture=convnet",
        "architecture.width=8",
        "dataset.image_size=32",
        "init.fresh_layer='13'",
    ],
    "cub_alexnet": [],
}


@pytest.mark.parametrize("name", SMALLER)
def test_every_experiment_of_table_3_runs(name: str, tmp_path: Path) -> None:
    """With data and weights in the form of the true ones, which are for 1,000 classes."""
    (trees.voc if name == "voc_alexnet" else trees.cub)(tmp_path)
    with torch.device("meta"):
        form = ConvNet(width=8).build((3, 32, 32), 1000) if SMALLER[name] else models.AlexNet()
    generator = torch.Generator().manual_seed(0)
    state = {n: 0.02 * torch.randn(w.shape, generator=generator) for n, w in form.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    made = ["init.weights=null", f"init.path={tmp_path}/weights.safetensors", f"dataset.root={tmp_path}"]
    few = ["dataset.validation=0.5", "outer.steps=1", "outer.batch_size=2", "evaluation.validation_images=2"]
    ended = distill(
        f"experiment={name}", *SIZES, *SMALLER[name], *made, *few, "hydra.run.dir=run", folder=tmp_path
    )
    (tmp_path / "weights.safetensors").unlink()  # 244 MB
    assert ended.code == 0, ended.err
    distilled = load_distilled(tmp_path / "run" / "distilled.safetensors")
    assert distilled.images.shape == ((1, 20, 3, 32, 32) if SMALLER[name] else (1, 3, 3, 224, 224))
    assert distilled.learning_rates.shape == (3, 1)
    assert distilled.images.isfinite().all()
    assert not distilled.initial_weights


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in SMALLER])
def test_every_experiment_runs(name: str, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    experiment = config.read(composed([f"experiment={name}"]))
    if experiment.dataset.name != "digits" and not os.environ.get("DATA_DIR"):
        pytest.skip("needs real data sets: set DATA_DIR")
    pool = POOL if isinstance(experiment.init, Pretrained) else []
    if getattr(experiment.init, "source", None):
        pool = [*pool, "init.source.validation=0.95"]
    ended = distill(
        f"experiment={name}", *SIZES, *pool, "hydra.mode=RUN", "hydra.run.dir=run", folder=tmp_path
    )
    assert ended.code == 0, ended.err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["choices"]["experiment"] == name
    pictures = list((tmp_path / "run" / "images").glob("step_*.png"))
    assert len(pictures) == experiment.distilled.steps
