"""The memory estimate: against what autograd keeps of a whole meta-gradient, and what it advises."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from unittest import mock

import pytest
import torch

from benchmarks.meta_gradient import allocated
from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer import memory
from dataset_distillation.outer.options import MemoryLimit, Strategy, Trainer
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.truncated import Truncated
from support.experiments import outer_loss_of

Make = Callable[..., Experiment]


@pytest.mark.parametrize("options", [(), ("architecture=convnet", "architecture.width=8", "init.networks=3")])
def test_full_keeps_what_was_estimated(options: tuple[str, ...], experiment: Make) -> None:
    """All tensors that autograd keeps for the way back, each storage counted once."""
    e = experiment("distilled.epochs=5", "unroll.batch_networks=off", "outer.batch_size=64", *options)
    loss = outer_loss_of(e)
    population = loss.problem.population("init", e.init.networks)
    batch = loss.problem.data.train.batch(torch.arange(64))
    kept = memory.kept_by(lambda: loss(population, 0, batch))
    estimated = memory.measure(loss)
    each = e.unroll.memory(estimated) + estimated.real + estimated.distilled
    assert kept == pytest.approx(e.init.networks * each, rel=0.1)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("init.networks=3", "unroll.batch_networks=on"),
        ("unroll=recompute", "distilled.epochs=10", "inner_optimizer=adam"),
        ("architecture=convnet", "architecture.width=16", "init.networks=2", "unroll.batch_networks=on"),
        ("architecture=convnet", "architecture.width=16", "unroll=recompute"),
        ("architecture=convnet", "architecture.width=16", "unroll=truncated", "unroll.window=2"),
        ("architecture=linear", "unroll=recompute", "distilled.epochs=20", "augmentation=flip_rotate"),
    ],
)
def test_the_peak_lies_below_the_estimate_and_not_far(options: tuple[str, ...], experiment: Make) -> None:
    """Of what torch's allocator gives out in a forward and a backward pass."""
    e = experiment("outer.batch_size=64", *options)
    loss = outer_loss_of(e)
    population = loss.problem.population("init", e.init.networks)
    batch = loss.problem.data.train.batch(torch.arange(64))

    def meta_gradient() -> None:
        loss(population, 0, batch).mean().backward()

    meta_gradient()  # what is allocated once
    estimate = memory.needed(memory.measure(loss), e.unroll, e.init.networks, loss.together)
    assert 1 <= estimate / allocated(meta_gradient) < 1.8


def test_the_other_engines_keep_points(experiment: Make) -> None:
    e = experiment("architecture=linear", "distilled.steps=30", "inner_optimizer=momentum")
    found = memory.measure(outer_loss_of(e))
    assert found.point == 2 * 4 * 7850  # the weights and their momentum, in single precision
    assert Recompute().memory(found) == 30 * found.point
    assert Truncated(window=10).memory(found) == 10 * found.point
    assert Truncated(window=40).memory(found) == 30 * found.point
    offloaded = Recompute(offload=True)
    assert offloaded.memory(dataclasses.replace(found, on_cpu=False)) == 0
    assert offloaded.memory(found) == 30 * found.point  # they are on the CPU all the same


def test_what_does_not_fit_comes_with_what_would(
    experiment: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = outer_loss_of(experiment("init.networks=4", "distilled.epochs=15"))
    told = {}
    with caplog.at_level(logging.INFO):
        for free in (10**10, 10**8, 3 * 10**7, 10**7, 10**6, None):
            monkeypatch.setattr(memory, "free", lambda _, free=free: free)
            caplog.clear()
            needed = memory.check_memory(loss, Trainer(memory=MemoryLimit.ignore))
            [record] = caplog.records
            told[free] = (record.levelname, record.getMessage())
    assert 10**8 < needed < 10**9
    assert told[10**10] == (
        "INFO",
        f"memory: the meta-gradient needs about {needed / 1e9:.2f} GB; 10.00 GB are free",
    )
    assert told[None] == ("INFO", f"memory: the meta-gradient needs about {needed / 1e9:.2f} GB")
    assert told[10**8][0] == "WARNING"
    assert "; unroll=recompute unroll.batch_networks=off needs 0." in told[10**8][1]
    assert "; unroll=recompute unroll.batch_networks=off init.networks=2 needs" in told[3 * 10**7][1]
    assert "; unroll=truncated unroll.window=10 init.networks=1 needs 0.01 GB" in told[10**7][1]
    assert "use fewer distilled.images_per_class or a smaller architecture" in told[10**6][1]


def test_a_window_that_does_not_fit_is_advised_to_keep_less_and_then_to_be_shorter(
    experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never to be another gradient."""
    options = ("unroll=truncated", "unroll.window=12", "unroll.stored=true", "distilled.inner_steps=40")
    loss = outer_loss_of(experiment(*options))
    sizes = memory.measure(loss)
    kept, shorter = (memory.needed(sizes, Truncated(window=window), 1, loss.together) for window in (12, 6))
    assert shorter < kept < memory.needed(sizes, loss.unroll, 1, loss.together)
    for free, told in (
        (kept, "unroll.stored=false unroll.batch"),
        (kept - 1, "unroll.stored=false unroll.window=6"),
    ):
        monkeypatch.setattr(memory, "free", lambda _, free=free: free)
        with pytest.raises(ConfigError, match=f"are free; {told}"):
            memory.check_memory(loss, Trainer())


def test_the_processes_of_a_run_share_the_memory_of_a_cpu(
    experiment: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is advised is in the configuration's terms: networks of all processes."""
    loss = outer_loss_of(experiment("init.networks=8", "trainer.devices=2", "trainer.strategy=ddp"))
    needed = memory.needed(memory.measure(loss), loss.unroll, 4, loss.together)
    shared = Trainer(devices=2, strategy=Strategy.ddp, memory=MemoryLimit.ignore)
    monkeypatch.setattr(memory, "footprint", lambda: 0)
    monkeypatch.setattr(memory, "free", lambda _: round(1.9 * needed))
    with caplog.at_level(logging.INFO):
        memory.check_memory(loss, shared)
        monkeypatch.setattr(memory, "free", lambda _: 14 * 10**6)
        memory.check_memory(loss, shared)
    first, second = (record.getMessage() for record in caplog.records)
    assert f"in each of 2 processes, but {0.95 * needed / 1e9:.2f} GB are free" in first
    assert "unroll.batch_networks=off init.networks=4 needs" in second


def test_what_does_not_fit_is_refused_unless_that_is_ignored_or_it_ran_before(
    experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = outer_loss_of(experiment("distilled.epochs=15"))
    needed = memory.needed(memory.measure(loss), loss.unroll, 1)
    monkeypatch.setattr(memory, "free", lambda _: needed - 1)
    with pytest.raises(ConfigError, match=r"^trainer\.memory=free: .* are free; unroll=recompute .* needs 0"):
        memory.check_memory(loss, Trainer())
    assert memory.check_memory(loss, Trainer(memory=MemoryLimit.ignore)) == needed
    assert memory.check_memory(loss, Trainer(), resumed=True) == needed
    monkeypatch.setattr(memory, "free", lambda _: needed)
    assert memory.check_memory(loss, Trainer()) == needed


def test_large_batches_are_measured_by_small_ones(experiment: Make) -> None:
    """Exactly: what a network without BatchNorm keeps of an image does not depend on the others."""
    e = experiment("distilled.images_per_class=20", "outer.batch_size=200", "unroll.batch_networks=off")
    loss = outer_loss_of(e)
    found = memory.measure(loss)
    with mock.patch.object(memory, "MEASURED", 200):
        assert found == memory.measure(loss)


def test_augmented_images_are_kept_for_each_step(experiment: Make) -> None:
    options = ("architecture=linear", "distilled.steps=10", "distilled.images_per_class=4")
    plain = memory.measure(outer_loss_of(experiment(*options)))
    augmented = memory.measure(outer_loss_of(experiment(*options, "augmentation=flip_rotate")))
    image = 4 * 28 * 28
    assert plain.inputs == 0
    # A copy of the images and its gradient, the mirror image, and from where each pixel comes: two numbers.
    assert augmented.inputs == pytest.approx(40 * 5 * image, rel=0.05)
    assert Recompute().memory(augmented) == 10 * (plain.point + augmented.inputs)
    assert Truncated(window=5).memory(augmented) == 5 * (plain.point + augmented.inputs)
