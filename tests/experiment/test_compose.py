"""Every choice of every group composes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from dataset_distillation.experiment import compose
from support.experiments import CONF

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("experiment", "hydra", "wandb")
)

#: What a choice needs beside the defaults.
NEEDED = {
    "dataset=image_folder": [f"dataset.path={CONF}", "architecture=convnet"],
    "dataset=huggingface": [f"dataset.path={CONF}", "architecture=convnet"],
    "dataset=imported": ["dataset.path=support.experiments:never_called", "architecture=convnet"],
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


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_with_the_defaults(choice: str, composed: Callable[..., DictConfig]) -> None:
    group = choice.partition("=")[0]
    experiment = compose.read(composed([choice, *NEEDED.get(choice, [])]))
    if group in compose.GROUPS:
        assert type(getattr(experiment, group)).__module__.startswith("dataset_distillation.")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_its_command(name: str) -> None:
    lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    program = "distill-evaluate" if name.endswith("_matching") else "distill"
    assert lines[1].startswith(f"# {program} experiment={name}: ")
