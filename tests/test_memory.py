"""The memory estimate: against what autograd keeps of a whole meta-gradient, and what it advises."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch

from dataset_distillation import distilled, memory, pipeline
from dataset_distillation.config import Experiment
from dataset_distillation.outer_loss import OuterLoss

Make = Callable[..., Experiment]


def loss_of(experiment: Experiment) -> OuterLoss:
    problem = pipeline.prepare(experiment)
    data = distilled.start(experiment.distilled, problem.data.train, experiment.seed)
    return OuterLoss(problem, data, experiment.init.networks)


@pytest.mark.parametrize("options", [(), ("architecture=convnet", "architecture.width=8", "init.networks=3")])
def test_full_keeps_what_was_estimated(options: tuple[str, ...], experiment: Make) -> None:
    """All tensors that autograd keeps for the way back, each storage counted once."""
    e = experiment("distilled.epochs=5", "unroll.batch_networks=off", "outer.batch_size=64", *options)
    loss = loss_of(e)
    population = loss.problem.population("init", e.init.networks)
    batch = loss.problem.data.train.batch(torch.arange(64))
    kept = memory.kept_by(lambda: loss(population, 0, batch))
    estimated = memory.measure(loss)
    way_back = 2 * estimated.step + e.init.networks * estimated.distilled
    assert kept == pytest.approx(estimated.of(e.unroll, e.init.networks) - way_back, rel=0.1)


def test_the_other_engines_keep_points(experiment: Make) -> None:
    e = experiment(
        "architecture=linear", "distilled.steps=30", "inner_optimizer=momentum", "unroll=recompute"
    )
    found = memory.measure(loss_of(e))
    assert found.point == 2 * 4 * 7850  # the weights and their momentum, in single precision
    assert (
        found.of(e.unroll, 2) - found.of(e.unroll, 1) == 30 * found.point + found.real + 2 * found.distilled
    )
    truncated = experiment("unroll=truncated", "unroll.window=10").unroll
    assert found.of(e.unroll, 1) - found.of(truncated, 1) == 20 * found.point
    offloaded = experiment("unroll=recompute", "unroll.offload=true").unroll
    assert found.of(e.unroll, 1) - found.of(offloaded, 1) == 30 * found.point


def test_what_does_not_fit_comes_with_what_would(
    experiment: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = loss_of(experiment("init.networks=4", "distilled.epochs=15"))
    told = {}
    with caplog.at_level(logging.INFO):
        for free in (10**10, 10**8, 3 * 10**7, 10**6, None):
            monkeypatch.setattr(memory, "free", lambda _, free=free: free)
            caplog.clear()
            needed = memory.tell(loss, 4)
            [record] = caplog.records
            told[free] = (record.levelname, record.getMessage())
    assert 10**8 < needed < 10**9
    assert told[10**10] == (
        "INFO",
        f"memory: the meta-gradient takes about {needed / 1e9:.2f} GB, 10.00 GB are free",
    )
    assert told[None] == ("INFO", f"memory: the meta-gradient takes about {needed / 1e9:.2f} GB")
    assert told[10**8][0] == "WARNING"
    assert "; unroll=recompute unroll.batch_networks=off takes 0." in told[10**8][1]
    assert "; unroll=recompute unroll.batch_networks=off init.networks=" in told[3 * 10**7][1]
    assert "take fewer distilled.images_per_class" in told[10**6][1]
