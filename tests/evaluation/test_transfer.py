"""evaluation.architectures: the same steps, trained by hand on networks of other architectures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
import torch
from torch.nn import functional

from dataset_distillation.architectures.linear import Linear
from dataset_distillation.architectures.mlp import MLP
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.evaluation.comparison import compare
from dataset_distillation.evaluation.options import Evaluation, Training
from dataset_distillation.evaluation.real_sets import Size
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.evaluation.transfer import transferred
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.problem import Problem
from support.command_line import distill
from support.experiments import TINY


def test_the_rows_are_those_of_other_networks(experiment: Callable[..., Experiment]) -> None:
    problem, how = prepare(experiment("architecture=mlp", "architecture.width=9")), Training()
    images, labels = problem.data.train.batch(slice(0, 20))
    distilled = DistilledSet(images[None], labels[None], torch.tensor([[0.05], [0.02]]), {}, {})
    others = transferred(problem, distilled, how, ["linear", "mlp"], 2)
    networks, sets = problem.population("held-out", 2), Schedule(distilled, how, problem.seed, 2)
    runs = compare(problem, Evaluation(baselines=[]), networks, sets, Size(2, 1), None, variants=others).runs
    own = runs[runs["method"] == "distilled"]["loss"].tolist()
    for name, architecture in {"linear": Linear(), "mlp": MLP()}.items():
        parts = (problem.data, architecture.build((1, 28, 28), 10), architecture)
        other = Problem(*parts, problem.init, problem.objective, problem.inner_optimizer, problem.seed)
        found = runs[runs["method"] == f"distilled_on_{name}"]["loss"].tolist()
        assert found != own
        assert runs[runs["method"] == f"distilled_on_{name}"]["network"].tolist() == [2, 3]
        for j, weights in enumerate(other.population("held-out", 2)):
            network = load_weights(other.network, weights)
            for rate in (0.05, 0.02):
                sgd = torch.optim.SGD(network.parameters(), lr=rate)
                sgd.zero_grad()
                functional.cross_entropy(network(images), labels).backward()
                sgd.step()
            expected = training.test(network, problem.data.test, problem.objective)["loss"]
            assert found[j] == pytest.approx(expected, rel=1e-4)


def test_a_run_has_them_in_its_table(tmp_path: Path) -> None:
    ended = distill(*TINY, "evaluation.architectures=[linear]", "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended
    assert "distilled on linear" in ended.out
    methods = pandas.read_csv(tmp_path / "run" / "evaluation.csv")["method"].unique().tolist()
    assert methods[:3] == ["before_training", "distilled", "distilled_on_linear"]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ["evaluation.architectures=[nothing]"],
            "evaluation.architectures=nothing: must be one of",
        ),
        (["evaluation.architectures=[torchvision]"], "evaluation.architectures=torchvision: must be one of"),
        (["evaluation.architectures=[alexcifarnet]"], "dataset.image_size="),
        (
            ["evaluation.architectures=[mlp]", "init=fixed"],
            "judges from random starts, and this is",
        ),
    ],
)
def test_what_cannot_judge_is_refused(typed: list[str], told: str, tmp_path: Path) -> None:
    ended = distill(*TINY, *typed, folder=tmp_path)
    assert ended.code == 2
    assert told in ended.err
    assert ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
