"""Clip at the running mean, moving average and warm-up: by their formulas, and resumed to the same bits."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from dataset_distillation.errors import ConfigError
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.checkpoints import newest
from dataset_distillation.outer.fit import Fitted, Store, fit
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.outer.options import Outer
from dataset_distillation.run.interruption import interruptible
from support.experiments import module_of

Make = Callable[..., Experiment]

EVERYTHING = (
    "architecture=linear", "outer.steps=6", "outer.clip_to_mean=1.1", "outer.average=0.5", "outer.warm_up=2",
    "augmentation=shift_rotate", "distilled.batch_size=7", "distilled.inner_steps=4",
    "distilled.rates=shared",
    "distilled.labels=probabilities", "unroll=truncated", "unroll.window=2", "unroll.start=random",
    "evaluation.validation_every=2", "trainer.checkpoint_seconds=0", "outer.learning_rate=0.3",
)  # fmt: skip


def test_the_clip_follows_the_running_mean(experiment: Make) -> None:
    """Norms 5, 5, 50, 5 with a limit of twice the mean and a decay of 0.75."""
    module = module_of(experiment("outer.clip_to_mean=2", "outer.mean_decay=0.75"))
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    images, rates = module.distilled.images, module.distilled.raw_learning_rates
    norms = []
    for size in (1, 1, 10, 1):
        images.grad, rates.grad = torch.zeros_like(images), torch.zeros_like(rates)
        images.grad.view(-1)[7], rates.grad.view(-1)[1] = 3.0 * size, -4.0 * size
        module._clip_to_mean()
        norms.append(torch.stack([images.grad.norm(), rates.grad.norm()]).norm().item())
        assert images.grad.view(-1)[7] / rates.grad.view(-1)[1] == pytest.approx(-0.75)
    assert norms == pytest.approx([5, 5, 10, 5])
    assert module.mean_norm is not None
    assert module.mean_norm.item() == pytest.approx(0.75 * (0.75 * 5 + 0.25 * 10) + 0.25 * 5)


def test_a_meta_gradient_of_zero_does_not_close_the_way(experiment: Make) -> None:
    module = module_of(experiment("outer.clip_to_mean=2"))
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    images = module.distilled.images
    for value in (0.0, 3.0, 4.0):
        images.grad = torch.full_like(images, value)
        module._clip_to_mean()
        assert images.grad.flatten()[0] == value


@pytest.mark.parametrize("clip", ["outer.clip=0.001", "outer.clip_to_mean=2"])
def test_what_is_not_learned_has_no_part_in_the_norm(clip: str, experiment: Make) -> None:
    """The images' gradient is that of a run without rates, scaled by its own norm alone."""
    options = ("architecture=linear", "outer.learning_rate_of_rates=0", "outer.clip=null", clip)
    module = module_of(experiment(*options))
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    population = module.problem.population("init", 1)
    batch = module.problem.data.train.batch(torch.arange(64))
    module.outer_loss(population, 0, batch).mean().backward()
    module._clip_to_mean()
    data = module.distilled
    assert data.raw_learning_rates.grad is None
    own = data.images.detach().requires_grad_()
    rates = data.raw_learning_rates.detach()
    steps = data.steps(own, rates, seed=0, purpose="")
    weights = dict(population[0])
    for step in steps:
        leaves = {name: weight.requires_grad_() for name, weight in weights.items()}
        outputs = functional_call(module.problem.network, leaves, (step.images,))
        loss = functional.cross_entropy(outputs, step.labels)
        found = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
        weights = {
            name: weight - step.learning_rate * gradient
            for (name, weight), gradient in zip(leaves.items(), found, strict=True)
        }
    outputs = functional_call(module.problem.network, weights, (batch.images,))
    [expected] = torch.autograd.grad(functional.cross_entropy(outputs, batch.labels), own)
    assert torch.cat(module.outer_loss.norms).item() == pytest.approx(expected.norm().item(), rel=1e-4)
    scale = min(1.0, 0.001 / expected.norm().item()) if clip == "outer.clip=0.001" else 1.0
    torch.testing.assert_close(data.images.grad, expected * scale, rtol=1e-4, atol=1e-8)


def test_the_average_is_validated_and_kept(experiment: Make) -> None:
    e = experiment("architecture=linear", "outer.steps=5", "outer.average=0.4", "outer.learning_rate=0.3")
    module = module_of(e)
    expected = module.distilled.images.detach().clone()
    end, seen = module.on_train_batch_end, []

    def follow(*arguments: Any) -> None:
        end(*arguments)
        decay = min(0.4, (1 + module.global_step) / (10 + module.global_step))
        expected.mul_(decay).add_((1 - decay) * module.distilled.images.detach())
        seen.append(module.global_step)

    module.on_train_batch_end = follow  # type: ignore[method-assign]
    outcome = fit(module, e.trainer)
    assert seen == [1, 2, 3, 4, 5]
    torch.testing.assert_close(module.kept.images, expected)
    assert not torch.allclose(module.distilled.images, expected, atol=1e-3)
    networks = module.problem.population("validation", 1)
    sets = module.schedule(1)
    assert torch.equal(sets[0][1].images, module.kept.images[1])
    judged = held_out(module.problem, module.validation, networks, sets).runs
    assert outcome.validation == pytest.approx(judged["accuracy"].mean())


def test_the_rates_rise_and_fall() -> None:
    constant = Outer(steps=10, schedule="constant", warm_up=3)  # type: ignore[arg-type]
    assert [constant.factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    cosine = Outer(steps=10, warm_up=1)
    assert [cosine.factor(step) for step in (0, 5, 10)] == pytest.approx([0.5, 0.5, 0])
    assert Outer(steps=10).factor(0) == 1


def test_the_first_steps_are_small(experiment: Make) -> None:
    """Adam's first step moves every coordinate by its rate."""
    options = ("outer.steps=1", "outer.warm_up=3", "outer.learning_rate=0.4", "outer.clip=null")
    module = module_of(e := experiment(*options, "outer.schedule=constant"))
    before = module.distilled.images.detach().clone()
    fit(module, e.trainer)
    assert (module.distilled.images - before).abs().max().item() == pytest.approx(0.1, rel=1e-3)


def distilled(experiment: Experiment, folder: Path) -> tuple[Fitted, dict[str, Tensor], Tensor | None]:
    module = module_of(experiment)
    with interruptible():
        fitted = fit(module, experiment.trainer, store=Store(folder, "a", newest(folder, ["a"])))
    return fitted, module.state_dict(), module.mean_norm


@pytest.mark.parametrize("stop", [1, 4])
def test_everything_is_resumed_to_the_same_bits(
    stop: int, experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = experiment(*EVERYTHING)
    whole, expected, mean = distilled(e, tmp_path / "whole")
    step = DistillationModule.training_step

    def stopped(module: DistillationModule, *arguments: Any) -> Tensor:
        if module.global_step == stop:
            signal.raise_signal(signal.SIGTERM)
        return step(module, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DistillationModule, "training_step", stopped)
        first, _, _ = distilled(e, tmp_path / "parts")
    assert first.signal == "SIGTERM"
    assert 0 < first.outer_steps < 6
    again, state, mean_again = distilled(e, tmp_path / "parts")
    assert (again.outer_steps, again.validation) == (whole.outer_steps, whole.validation)
    assert {"averaged.images", "distilled.images"} <= set(expected)
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert mean is not None
    assert torch.equal(mean, mean_again)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"clip_to_mean": 0.5}, r"outer\.clip_to_mean=0\.5: must be greater than 1, or null"),
        ({"clip_to_mean": 1.0}, r"outer\.clip_to_mean=1\.0: must be greater than 1, or null"),
        ({"average": 1.0}, r"outer\.average=1\.0: must be in \[0, 1\)"),
        ({"mean_decay": -0.1}, r"outer\.mean_decay=-0\.1: must be in \[0, 1\)"),
        ({"warm_up": -1}, r"outer\.warm_up=-1: must be 0 or more"),
    ],
)
def test_what_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Outer(**options)
