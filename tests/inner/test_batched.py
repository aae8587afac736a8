"""Several networks as one program: exactly what one after the other gives, where it can be had."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from hydra.errors import HydraException
from torch import Tensor, nn

from dataset_distillation.architectures.mlp import MLP
from dataset_distillation.cli.messages import one_line
from dataset_distillation.distilled.start import start
from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.inner import batched
from dataset_distillation.networks import training
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.pipeline.prepare import prepare
from support.cases import OPTIMIZERS
from support.networks import NETWORKS, OPTIONS, losses_and_gradients

Make = Callable[..., Experiment]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["lenet", "convnet"])
@pytest.mark.parametrize(
    ("engine", "optimizer"),
    [
        ("full", "sgd"),
        ("full", "nesterov-decay"),
        ("full", "adam"),
        ("recompute", "adam-decay"),
        ("traced", "sgd"),
        pytest.param("traced", "adam", marks=pytest.mark.slow),
    ],
)
def test_together_is_one_by_one(architecture: str, engine: str, optimizer: str, experiment: Make) -> None:
    """Losses, gradients, and each network's norm before its clip."""
    smaller = ["architecture.width=4"] if architecture == "convnet" else []
    e = experiment(*OPTIONS, f"architecture={architecture}", *smaller, f"unroll={engine}")
    e.inner_optimizer = OPTIMIZERS[optimizer]
    one_by_one, together = (losses_and_gradients(e, choice) for choice in ("off", "on"))
    for ours, theirs in zip(together, one_by_one, strict=True):
        assert theirs.norm() > 0
        assert (ours - theirs).norm() <= 1e-9 * theirs.norm()
    assert together[1].norm() < together[-1].norm()  # clipped


@pytest.mark.parametrize(
    "options",
    [
        ("distilled.labels=learned",),
        pytest.param(("distilled.labels=learned", "unroll=traced"), marks=pytest.mark.slow),
        ("unroll=truncated", "unroll.window=3", "unroll.start=random"),
        ("dataset=linear_regression", "dataset.image_size=2", "architecture=linear", "objective=regression"),
    ],
    ids=" ".join,
)
def test_together_is_one_by_one_whatever_is_learned(options: tuple[str, ...], experiment: Make) -> None:
    learned = ["distilled.labels=learned"] if "objective=regression" in options else []
    e = experiment(*OPTIONS, *options, *learned)
    one_by_one, together = (losses_and_gradients(e, choice) for choice in ("off", "on"))
    for ours, theirs in zip(together, one_by_one, strict=True):
        assert theirs.norm() > 0
        assert (ours - theirs).norm() <= 1e-9 * theirs.norm()


@pytest.mark.parametrize(("norm", "cut"), [("instance", True), ("batch", False)])
def test_the_real_batch_may_pass_in_chunks(
    norm: str, cut: bool, experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its images do not meet in a BatchNorm."""
    options = "architecture=convnet", "architecture.width=4", f"architecture.norm={norm}"
    e = experiment(*OPTIONS, *options)
    whole = losses_and_gradients(e, "off")
    monkeypatch.setattr(training, "CPU_CHUNK", 4)  # of 6
    in_chunks = losses_and_gradients(e, "off")
    for ours, theirs in zip(in_chunks, whole, strict=True):
        assert (ours - theirs).norm() <= 1e-9 * theirs.norm()
    assert any(not torch.equal(*pair) for pair in zip(in_chunks, whole, strict=True)) == cut


@pytest.mark.parametrize("name", NETWORKS)
def test_every_architecture_here_can_be_batched(name: str) -> None:
    architecture, shape, _ = NETWORKS[name]
    batched.check(architecture.build(shape, 10), shape)


class Branches(nn.Linear):
    """What depends on values cannot be one program for several networks."""

    def forward(self, images: Tensor) -> Tensor:
        outputs = super().forward(images.flatten(1))
        return outputs if outputs.sum() > 0 else 2 * outputs


def test_what_cannot_be_batched_is_refused_or_taken_one_by_one(
    experiment: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(MLP, "build", lambda *_: Branches(784, 10))
    e = experiment("architecture=mlp", "init.networks=2", "unroll.batch_networks=on")
    problem = prepare(e)
    data = start(e.distilled, problem.data.train, e.seed)
    with pytest.raises(ConfigError, match=r"unroll.batch_networks=on: this network cannot be batched .*=off"):
        OuterLoss(problem, data, e.outer, e.unroll, 2)
    e.unroll.batch_networks = "auto"
    with caplog.at_level(logging.INFO):
        assert not OuterLoss(problem, data, e.outer, e.unroll, 2).together
    assert "cannot be batched" in caplog.text


def test_auto_batches_where_little_is_to_be_computed(experiment: Make) -> None:
    e = experiment("init.networks=2")
    problem = prepare(e)
    found = {}
    for images in (1, 2, 5):  # of each of ten classes
        e.distilled.images_per_class = images
        data = start(e.distilled, problem.data.train, e.seed)
        found[images] = OuterLoss(problem, data, e.outer, e.unroll, 2).together
        assert not OuterLoss(problem, data, e.outer, e.unroll, 1).together
    assert found == {1: True, 2: True, 5: False}


def test_no_other_value_is_taken(experiment: Make) -> None:
    with pytest.raises(HydraException) as error:
        experiment("unroll.batch_networks=yes")
    assert one_line(error.value) == "unroll.batch_networks=yes: must be one of auto, off, on"
