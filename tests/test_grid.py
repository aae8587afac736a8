"""Every data set × architecture × init × objective runs, or is refused in one line that says why.

All of them are read and checked. Those that are accepted take two outer steps, one data set for all
whose images have its form. A part, with every accepted pair of choices, runs to the end. Unrolls and inner
optimisers take turns in both. New files in conf/ are part of it by themselves.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from dataset_distillation.architectures import Architecture, alexnet
from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.data import Identities, Sets, Specification, TensorSplit
from dataset_distillation.distilled.start import start
from dataset_distillation.errors import UserError, descendants
from dataset_distillation.experiment import compose
from dataset_distillation.experiment.checks import check
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.init import Init
from dataset_distillation.init.checkpoint import Checkpoint
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.objectives import Objective
from dataset_distillation.objectives.adaptation import Adaptation
from dataset_distillation.objectives.attack import Attack
from dataset_distillation.outer.choice import chosen
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.pipeline import distill as pipeline
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.run.provenance import Code
from dataset_distillation.run.run import Run
from dataset_distillation.unroll import Unroll
from support.experiments import CONF, TINY

GROUPS = ("dataset", "architecture", "init", "objective")
ENGINE = ("unroll", "inner_optimizer")
TRACES = ("auto", "traced")
CHOICES = {group: sorted(path.stem for path in (CONF / group).glob("*.yaml")) for group in (*GROUPS, *ENGINE)}

POOL = ["init.pretraining.batch_size=4", "init.pretraining.folder=pools", "init.pretraining.workers=1"]

#: What a choice needs, or needs to be small, whatever it is combined with.
NEEDED = {
    "dataset=image_folder": [f"dataset.path={CONF}"],
    "dataset=huggingface": [f"dataset.path={CONF}"],
    "dataset=imported": ["dataset.path=support.experiments:never_called"],
    "dataset=torchvision": ["dataset.name=FashionMNIST"],
    "architecture=alexnet32": ["architecture.width=4"],
    "architecture=convnet": ["architecture.width=4"],
    "architecture=imported": [f"architecture.path={__name__}:small"],
    "architecture=mlp": ["architecture.width=4"],
    "architecture=resnet18": ["architecture.width=4"],
    "architecture=vgg11": ["architecture.width=4"],
    "architecture=torchvision": ["architecture.name=squeezenet1_1"],
    "init=checkpoint": [f"init.path={CONF}/config.yaml"],  # a file; what is in it, each run makes
    "init=fixed_pretrained": POOL,
    "init=pretrained": [*POOL, "init.pool_size=1"],
    "unroll=truncated": ["unroll.window=1"],  # of two steps
}

COMMON = [*TINY, "evaluation.networks=1", "outer.batch_size=4", "distilled.steps=1"]

Combination = tuple[str, str, str, str]
Compose = Callable[[list[str]], DictConfig]


class Engine(NamedTuple):
    unroll: Unroll
    inner_optimizer: InnerOptimizer


class Grid(NamedTuple):
    """The combinations that are accepted, and what is said of the others."""

    accepted: dict[Combination, Experiment]
    refused: dict[Combination, str]


@pytest.fixture(scope="module")
def grid(composed: Compose) -> Grid:
    """Each choice is composed once, and put together here: to compose them all would take minutes."""
    base = compose.read(composed(COMMON))
    chosen = {
        (group, choice): OmegaConf.to_object(composed([*COMMON, *overrides(group, choice)])[group])
        for group in GROUPS
        for choice in CHOICES[group]
    }
    found = Grid({}, {})
    for combination in itertools.product(*(CHOICES[group] for group in GROUPS)):
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
    learned = replace(
        base.distilled,
        labels="learned" if dataset.numbers else "fixed",
        epochs=1 if isinstance(objective, Attack) else 2,
    )
    experiment = replace(
        base, dataset=dataset, architecture=architecture, init=init, objective=objective, distilled=learned
    )
    check(experiment)
    return experiment


def test_a_combination_is_what_composing_it_gives(grid: Grid, composed: Compose) -> None:
    combination = ("svhn", "convnet", "pretrained", "attack")
    wanted = [override for pair in named(combination) for override in overrides(*pair)]
    assert grid.accepted[combination] == compose.read(composed([*COMMON, *wanted]))


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
        (("linear_regression", "linear", "random", "standard"), "objective=standard: predicts classes"),
        (("mnist", "linear", "random", "regression"), "objective=regression: predicts numbers"),
        (("mnist", "lenet", "random", "attack"), "objective=attack: needs networks that are already trained"),
        (
            ("mnist", "lenet", "fixed", "adaptation"),
            "objective=adaptation: needs networks that are already trained; use init=pretrained dataset@init",
        ),
        (("mnist", "alexcifarnet", "random", "standard"), "dataset.image_size=28: architecture=alexcifarnet"),
        (("cifar10", "alexnet", "random", "standard"), "dataset.image_size=32: architecture=alexnet"),
        (("linear_regression", "linear", "pretrained", "regression"), "init.source=linear_regression: only"),
    ],
)
def test_what_is_refused_and_why(grid: Grid, combination: Combination, told: str) -> None:
    assert grid.refused[combination].startswith(told)


def cover(combinations: Iterable[Any]) -> list[Any]:
    """Few of the combinations that have, together, all pairs of choices that any of them has: greedily."""

    def pairs(combination: Any) -> set[Any]:
        return set(itertools.combinations(enumerate(combination), 2))

    left = {combination: pairs(combination) for combination in combinations}
    chosen: list[Any] = []
    missing: set[Any] = set().union(*left.values())
    while missing:
        best = max(left, key=lambda combination: len(left[combination] & missing))
        missing -= left.pop(best)
        chosen.append(best)
    return chosen


def tiny(dataset: Dataset) -> Sets:
    """Random images of two classes in the form of any source; reading sources has tests of its own."""
    shape = (dataset.channels, dataset.image_size, dataset.image_size)
    middle = (0.5,) * dataset.channels
    specification = Specification(dataset.name, shape, ("0", "1"), middle, middle)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, *shape), generator=generator, dtype=torch.uint8)
    everything = TensorSplit(torch.arange(24) % 2, specification, images)
    return Sets(everything.subset(torch.arange(20)), everything.subset(torch.arange(20, 24)), dataset.name)


def small(channels: int, image_size: int, classes: int) -> nn.Module:
    """A network for images of any size from 3×3, with 8 features at most."""
    stride = max(1, image_size // 3)
    convolution = nn.Conv2d(channels, 2, 3, stride)
    side = (image_size - 3) // stride + 1
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(2 * side**2, classes))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kind in descendants(Dataset):
        monkeypatch.setattr(kind, "splits", tiny)
        monkeypatch.setattr(kind, "identities", lambda dataset: Identities([dataset.name], []))
    # 57 million weights; it is run as it is in test_experiments.py.
    monkeypatch.setattr(alexnet.AlexNet, "build", lambda _, shape, classes: small(*shape[:2], classes))
    monkeypatch.setattr(pipeline, "write_images", lambda *_: None)
    monkeypatch.chdir(tmp_path)


def run(experiment: Experiment, chosen: Sequence[str], folder: Path) -> dict[str, Any]:
    """Two outer steps, a validation and an evaluation."""
    choices = dict(zip((*GROUPS, *ENGINE), chosen, strict=True))
    return pipeline.distill(with_weights(experiment, folder), Run(folder, {}, choices, [], code=Code()))


def with_weights(experiment: Experiment, folder: Path) -> Experiment:
    """With weights that fit in the file of init=checkpoint."""
    if not isinstance(experiment.init, Checkpoint):
        return experiment
    specification = experiment.dataset.load(0).specification
    network = experiment.architecture.build(specification.shape, specification.classes)
    folder.mkdir(exist_ok=True)
    path = folder / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    return replace(experiment, init=replace(experiment.init, path=str(path)))


@pytest.fixture(scope="module")
def engines(composed: Compose) -> dict[tuple[str, str], Engine]:
    """Every unroll with every inner optimiser."""
    found = {}
    for pair in itertools.product(*(CHOICES[group] for group in ENGINE)):
        wanted = [override for chosen in zip(ENGINE, pair, strict=True) for override in overrides(*chosen)]
        e = compose.read(composed([*COMMON, *wanted]))
        found[pair] = Engine(e.unroll, e.inner_optimizer)
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_part_of_what_is_accepted_runs_to_the_end(
    grid: Grid, engines: dict[tuple[str, str], Engine], tmp_path: Path
) -> None:
    """Every pair of choices of the six groups that is accepted at all."""
    failed = {}
    both = itertools.product(grid.accepted, engines)
    for number, (*combination, unroll, optimizer) in enumerate(cover((*c, *engine) for c, engine in both)):
        try:
            experiment = replace(grid.accepted[tuple(combination)], **engines[unroll, optimizer]._asdict())
            result = run(experiment, (*combination, unroll, optimizer), tmp_path / str(number))
            mean = result.rows["distilled"].mean
            assert result.status == "finished"
            assert mean is not None
            assert math.isfinite(mean)
        except Exception as error:
            failed[*combination, unroll, optimizer] = f"{type(error).__name__}: {error}"
    assert not failed


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
@pytest.mark.parametrize("traces", [False, True])
def test_all_that_is_accepted_takes_two_outer_steps(
    traces: bool, grid: Grid, engines: dict[tuple[str, str], Engine], tmp_path: Path
) -> None:
    """A trace takes seconds, and the data do not matter to it: those engines run each architecture once."""
    turns = itertools.cycle([pair for pair in engines if (pair[0] in TRACES) == traces])
    failed: dict[tuple[str, ...], str] = {}
    done: set[str] = set()
    for combination in forms(grid.accepted):
        architecture = combination[1]
        if traces and architecture in done:
            continue
        done.add(architecture)
        engine = next(turns)
        try:
            experiment = replace(grid.accepted[combination], **engines[engine]._asdict())
            two_outer_steps(with_weights(experiment, tmp_path / "weights"))
        except Exception as error:
            failed[*combination, *engine] = f"{type(error).__name__}: {error}"
    assert not failed


def forms(accepted: dict[Combination, Experiment]) -> list[Combination]:
    """Of combinations that differ in the data set alone, and not in the form of its images, the first."""
    first: dict[Any, Combination] = {}
    for combination, experiment in accepted.items():
        dataset = experiment.dataset
        form = (dataset.channels, dataset.image_size, dataset.numbers)
        first.setdefault((form, *combination[1:]), combination)
    return list(first.values())


def two_outer_steps(experiment: Experiment) -> None:
    """Algorithm 1, without what Lightning adds; the images get a gradient, of 0 where all units are dead."""
    problem = prepare(experiment)
    learned = start(experiment.distilled, problem.data.train, experiment.seed)
    networks = experiment.init.networks
    engine = chosen(experiment.unroll, problem, learned, experiment.outer, networks)
    outer_loss = OuterLoss(problem, learned, experiment.outer, engine, networks)
    optimizer = torch.optim.Adam(learned.parameters())
    for step in range(2):
        population = problem.population("init", experiment.init.networks, step)
        loss = outer_loss(population, step, problem.data.train.batch(torch.arange(4))).mean()
        optimizer.zero_grad()
        loss.backward()
        gradients = {name: p.grad for name, p in learned.named_parameters() if p.grad is not None}
        assert "images" in gradients
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        optimizer.step()
