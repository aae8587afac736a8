"""Every data set × architecture × init × objective runs, or is refused in one line that says why.

All of them are read and checked. Of those that are accepted a part is run: every pair of choices that is
accepted in some combination is run in one. New files in conf/ are part of it by themselves.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from conftest import CONF, TINY
from omegaconf import DictConfig, OmegaConf
from torch import nn

from dataset_distillation import config, pipeline
from dataset_distillation.architectures import Architecture, alexnet
from dataset_distillation.config import Experiment
from dataset_distillation.datasets import Dataset, Specification, Split, TensorSplit
from dataset_distillation.errors import UserError
from dataset_distillation.init import Init
from dataset_distillation.init.checkpoint import Checkpoint
from dataset_distillation.objectives import Objective
from dataset_distillation.objectives.adaptation import Adaptation
from dataset_distillation.provenance import Code, Run

GROUPS = ("dataset", "architecture", "init", "objective")
CHOICES = {group: sorted(path.stem for path in (CONF / group).glob("*.yaml")) for group in GROUPS}

POOL = ["init.pretraining.batch_size=4", "init.pretraining.folder=pools", "init.pretraining.workers=1"]

#: What a choice needs, or needs to be small, whatever it is combined with.
NEEDED = {
    "dataset=image_folder": [f"dataset.path={CONF}"],
    "dataset=imported": ["dataset.path=test_grid:never_called"],
    "dataset=torchvision": ["dataset.name=FashionMNIST"],
    "architecture=convnet": ["architecture.width=4"],
    "architecture=imported": ["architecture.path=test_grid:small"],
    "architecture=mlp": ["architecture.width=4"],
    "architecture=torchvision": ["architecture.name=squeezenet1_1"],
    "init=checkpoint": [f"init.path={CONF}/config.yaml"],  # a file; what is in it, each run makes
    "init=fixed_pretrained": POOL,
    "init=pretrained": [*POOL, "init.pool_size=1"],
}

COMMON = [*TINY, "evaluation.networks=1", "outer.batch_size=4", "distilled.steps=1"]

Combination = tuple[str, str, str, str]
Compose = Callable[[list[str]], DictConfig]


class Grid(NamedTuple):
    """The combinations that are accepted, and what is said of the others."""

    accepted: dict[Combination, Experiment]
    refused: dict[Combination, str]


@pytest.fixture(scope="module")
def grid(composed: Compose) -> Grid:
    """Each choice is composed once, and put together here: to compose them all would take minutes."""
    base = config.read(composed(COMMON))
    chosen = {
        (group, choice): OmegaConf.to_object(composed([*COMMON, *overrides(group, choice)])[group])
        for group in GROUPS
        for choice in CHOICES[group]
    }
    found = Grid({}, {})
    for combination in itertools.product(*CHOICES.values()):
        try:
            found.accepted[combination] = together(base, *(chosen[p] for p in named(combination)))
        except UserError as error:
            found.refused[combination] = str(error)
    return found


def named(combination: Combination) -> list[tuple[str, str]]:
    return list(zip(GROUPS, combination, strict=True))


def overrides(group: str, choice: str) -> list[str]:
    return [f"{group}={choice}", *NEEDED.get(f"{group}={choice}", [])]


def together(
    base: Experiment, dataset: Dataset, architecture: Architecture, init: Init, objective: Objective
) -> Experiment:
    """Checked as a composed one is. Raises ConfigError."""
    if isinstance(objective, Adaptation) and hasattr(init, "source"):
        init = replace(init, source=replace(dataset, name=f"not {dataset.name}"))  # type: ignore[call-arg]
    labels = replace(base.distilled, labels="learned" if dataset.numbers else "fixed")
    return replace(
        base, dataset=dataset, architecture=architecture, init=init, objective=objective, distilled=labels
    )


def test_a_combination_is_what_composing_it_gives(grid: Grid, composed: Compose) -> None:
    combination = ("svhn", "convnet", "pretrained", "attack")
    wanted = [override for pair in named(combination) for override in overrides(*pair)]
    assert grid.accepted[combination] == config.read(composed([*COMMON, *wanted]))


def test_a_refusal_is_one_line_of_key_value_and_reason(grid: Grid) -> None:
    for combination, told in grid.refused.items():
        assert re.fullmatch(r"[a-z_.]+=.*: .+", told), f"{combination}: {told}"
    assert len(grid.refused) > len(grid.accepted) / 2


def test_no_choice_is_refused_everywhere(grid: Grid) -> None:
    used = {pair for combination in grid.accepted for pair in named(combination)}
    assert used == {(group, choice) for group in GROUPS for choice in CHOICES[group]}


@pytest.mark.parametrize(
    ("combination", "told"),
    [
        (("linear_regression", "linear", "random", "standard"), "objective=standard: is about classes"),
        (("mnist", "linear", "random", "regression"), "objective=regression: predicts numbers"),
        (("mnist", "lenet", "random", "attack"), "objective=attack: is on trained networks"),
        (
            ("mnist", "lenet", "fixed", "adaptation"),
            "objective=adaptation: is of networks trained on another",
        ),
        (("mnist", "alexcifarnet", "random", "standard"), "dataset.image_size=28: architecture=alexcifarnet"),
        (("cifar10", "alexnet", "random", "standard"), "dataset.image_size=32: architecture=alexnet"),
        (("linear_regression", "linear", "pretrained", "regression"), "init.source=linear_regression: only"),
    ],
)
def test_what_is_refused_and_why(grid: Grid, combination: Combination, told: str) -> None:
    assert grid.refused[combination].startswith(told)


def cover(combinations: Iterable[Combination]) -> list[Combination]:
    """Few of the combinations that have, together, all pairs of choices that any of them has: greedily."""

    def pairs(combination: Combination) -> set[Any]:
        return set(itertools.combinations(named(combination), 2))

    left = {combination: pairs(combination) for combination in combinations}
    chosen: list[Combination] = []
    missing: set[Any] = set().union(*left.values())
    while missing:
        best = max(left, key=lambda combination: len(left[combination] & missing))
        missing -= left.pop(best)
        chosen.append(best)
    return chosen


def tiny(dataset: Dataset) -> tuple[Split, Split, str]:
    """Random images of two classes in the form of any source; reading sources has tests of its own."""
    shape = (dataset.channels, dataset.image_size, dataset.image_size)
    middle = (0.5,) * dataset.channels
    specification = Specification(dataset.name, shape, ("0", "1"), middle, middle)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, *shape), generator=generator, dtype=torch.uint8)
    everything = TensorSplit(torch.arange(24) % 2, specification, images)
    return everything.subset(torch.arange(20)), everything.subset(torch.arange(20, 24)), dataset.name


def small(channels: int, image_size: int, classes: int) -> nn.Module:
    """A network for images of any size from 3×3, with 8 features at most."""
    stride = max(1, image_size // 3)
    convolution = nn.Conv2d(channels, 2, 3, stride)
    side = (image_size - 3) // stride + 1
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(2 * side**2, classes))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kind in config._descendants(Dataset):
        monkeypatch.setattr(kind, "splits", tiny)
    # 57 million weights; it is run as it is, with both of its experiments, in test_experiments.py.
    monkeypatch.setattr(alexnet.AlexNet, "build", lambda _, shape, classes: small(*shape[:2], classes))
    monkeypatch.setattr(pipeline, "write_images", lambda *_: None)
    monkeypatch.chdir(tmp_path)


def run(experiment: Experiment, combination: Combination, folder: Path) -> dict[str, Any]:
    """Two outer steps, a validation and an evaluation."""
    if isinstance(experiment.init, Checkpoint):
        path = folder / "weights.safetensors"
        save_weights(experiment, path)
        experiment = replace(experiment, init=replace(experiment.init, path=str(path)))
    choices = dict(named(combination)) | {"inner_optimizer": "sgd"}
    return pipeline.run(experiment, Run(folder, {}, choices, [], code=Code()))


def save_weights(experiment: Experiment, path: Path) -> None:
    specification = experiment.dataset.load(0).specification
    network = experiment.architecture.build(specification.shape, specification.classes)
    path.parent.mkdir()
    safetensors.torch.save_file(network.state_dict(), path)


@pytest.mark.usefixtures("quick")
def test_what_is_accepted_runs(grid: Grid, tmp_path: Path) -> None:
    failed = {}
    for number, combination in enumerate(cover(grid.accepted)):
        try:
            result = run(grid.accepted[combination], combination, tmp_path / str(number))
            [row] = [row for row in result["evaluation"] if row["method"] == "distilled"]
            assert result["status"] == "finished"
            assert math.isfinite(row["mean"])
        except Exception as error:
            failed[combination] = f"{type(error).__name__}: {error}"
    assert not failed
