"""Algorithm 1 inside Lightning: the outer step, its clip, its guard, its randomness."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable
from typing import Any

import pandas
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dataset_distillation import load_distilled
from dataset_distillation.errors import UserError
from dataset_distillation.evaluation.held_out import HeldOutResult, held_out
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.outer.checkpoints import Best
from dataset_distillation.outer.fit import fit
from dataset_distillation.outer.loss import ClippedGradient, OuterLoss
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.pipeline.distill import distill
from dataset_distillation.run.run import Run
from support.experiments import module_of

Make = Callable[..., Experiment]


def distil(experiment: Experiment) -> DistillationModule:
    module = module_of(experiment)
    fit(module, experiment.trainer)
    return module


def state(module: DistillationModule) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(("maximum", "scale"), [(10.0, 1.0), (5.0, 1.0), (1.0, 0.2)])
def test_the_clip_bounds_the_joint_norm_and_keeps_the_direction(maximum: float, scale: float) -> None:
    a, b = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
    norms: list[Tensor] = []
    a_of, b_of = ClippedGradient.apply(2, maximum, norms, a, b)
    (3 * a_of[0, 0] + 4 * b_of[0, 0] + 0.5 * a_of[1, 1]).backward()  # gradients of norm 5 and 0.5
    torch.testing.assert_close(a.grad, torch.tensor([3 * scale, 0.5]))
    torch.testing.assert_close(b.grad, torch.tensor([4 * scale]))
    assert [norm.tolist() for norm in norms] == [[5.0, 0.5]]


def test_nothing_of_the_network_is_in_the_state(experiment: Make) -> None:
    names = set(module_of(experiment()).state_dict())
    assert names == {"distilled.images", "distilled.raw_learning_rates", "distilled.labels"}


def test_the_outer_loss_is_the_mean_over_the_networks(experiment: Make) -> None:
    """And each network's gradient is clipped by itself: a clip of 1e-5 binds."""
    module = module_of(experiment("init.networks=3", "outer.clip=1e-5"))
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    loss = module.training_step(torch.tensor([0]), 0)
    population = module.problem.population("init", 3)
    alone = torch.cat([module.outer_loss([weights], 0, module.real_batch()) for weights in population])
    torch.testing.assert_close(loss, alone.mean())
    gradients = []
    for one in alone:
        gradient = torch.autograd.grad(one, list(module.distilled.parameters()), retain_graph=True)
        gradients.append(torch.cat([g.flatten() for g in gradient]) / 3)
        assert gradients[-1].norm() == pytest.approx(1e-5 / 3, rel=1e-4)
    mean = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.distilled.parameters()))])
    torch.testing.assert_close(mean, torch.stack(gradients).sum(0))


def test_a_step_is_adam_with_two_rates(experiment: Make) -> None:
    """Adam's first step moves every coordinate by its rate, whatever the size of the gradient."""
    options = ("outer.steps=1", "outer.schedule=constant", "outer.learning_rate=0.5")
    e = experiment(*options, "outer.learning_rate_of_rates=0.125", "outer.clip=null")
    module = module_of(e)
    before = state(module)
    fit(module, e.trainer)
    after = state(module)
    moved = (after["distilled.raw_learning_rates"] - before["distilled.raw_learning_rates"]).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.125), rtol=1e-3, atol=0)
    pixels = (after["distilled.images"] - before["distilled.images"]).abs()
    assert pixels.max() == pytest.approx(0.5, rel=1e-3)
    assert torch.equal(after["distilled.labels"], before["distilled.labels"])


def test_learned_labels_have_a_rate_of_their_own(experiment: Make) -> None:
    options = ("outer.steps=1", "outer.schedule=constant", "outer.learning_rate_of_labels=0.25")
    e = experiment(*options, "distilled.labels=learned", "outer.clip=null")
    module = module_of(e)
    before = state(module)["distilled.labels"]
    fit(module, e.trainer)
    moved = (state(module)["distilled.labels"] - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25), rtol=1e-3, atol=0)


class AtStep(DistillationModule):
    """The module as it is at an outer step, without a Trainer that counts them."""

    global_step = 0


def test_outer_steps_are_algorithm_1_written_out(experiment: Make) -> None:
    """Adam with its betas and two rates on a cosine; each step has networks and a real batch of its own."""
    options = ("outer.steps=4", "outer.learning_rate=0.05", "outer.learning_rate_of_rates=0.02")
    options = (*options, "outer.betas=[0.3,0.8]", "init.networks=2", "unroll.batch_networks=off")
    e = experiment(*options, "evaluation.validation_every=4")
    ours, theirs = distil(e), module_of(e, AtStep)
    optimizer = torch.optim.Adam(
        [{"params": [theirs.distilled.images]}, {"params": [theirs.distilled.raw_learning_rates]}],
        betas=(0.3, 0.8),
    )
    for step in range(4):
        theirs.global_step = step
        cosine = (1 + math.cos(math.pi * step / 4)) / 2
        for group, rate in zip(optimizer.param_groups, (0.05, 0.02), strict=True):
            group["lr"] = rate * cosine
        population = theirs.problem.population("init", 2, step)
        optimizer.zero_grad()
        sum(theirs.outer_loss([weights], step, theirs.real_batch()) / 2 for weights in population).backward()
        optimizer.step()
    for name, tensor in state(theirs).items():
        torch.testing.assert_close(state(ours)[name], tensor, rtol=1e-5, atol=1e-6)


def test_each_outer_step_has_a_real_batch_of_its_own(experiment: Make) -> None:
    at = module_of(experiment(), AtStep)
    batches = []
    for at.global_step in (0, 1, 0):
        batches.append(at.real_batch())
    assert torch.equal(batches[0].images, batches[2].images)
    assert not torch.equal(batches[0].images, batches[1].images)
    assert len(batches[0].labels) == 16


def test_same_seed_same_bits(experiment: Make) -> None:
    first, again, other = (state(distil(experiment(f"seed={seed}", "init.networks=2"))) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["distilled.images"], other["distilled.images"])


def test_distilling_lowers_the_loss(experiment: Make) -> None:
    options = ("init=fixed", "outer.steps=40", "outer.batch_size=256", "outer.learning_rate=0.1")
    e = experiment(*options, "distilled.learning_rate=0.1", "distilled.epochs=3")
    module = module_of(e)
    weights = module.problem.population("init", 1)[0]
    everything = module.problem.data.train.batch()
    before = module.outer_loss([weights], 0, everything).item()
    fit(module, e.trainer)
    assert module.outer_loss([weights], 0, everything).item() < 0.9 * before


def spoil(monkeypatch: pytest.MonkeyPatch, factor: Callable[[int], float]) -> None:
    """Multiply the outer losses of each step by a factor."""
    loss = OuterLoss.__call__

    def spoiled(outer_loss: OuterLoss, population: Any, step: int, real: Any) -> Tensor:
        return loss(outer_loss, population, step, real) * factor(step)

    monkeypatch.setattr(OuterLoss, "__call__", spoiled)


def test_an_infinite_meta_gradient_is_skipped_and_counted(
    experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda step: torch.inf if step == 1 else 1)
    e = experiment("outer.steps=4")
    module = module_of(e)
    outcome = fit(module, e.trainer)
    assert outcome.skipped_steps == 1
    assert outcome.outer_steps == 4
    assert all(tensor.isfinite().all() for tensor in module.parameters())


def spoil_one(monkeypatch: pytest.MonkeyPatch, factor: Callable[[int], float]) -> None:
    """Multiply the outer loss of the first network of each step by a factor."""
    loss = OuterLoss.__call__

    def spoiled(outer_loss: OuterLoss, population: Any, step: int, real: Any) -> Tensor:
        losses = loss(outer_loss, population, step, real)
        return losses * torch.tensor([factor(step), *[1.0] * (len(losses) - 1)])

    monkeypatch.setattr(OuterLoss, "__call__", spoiled)


def test_a_step_is_skipped_for_one_network(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_one(monkeypatch, lambda step: torch.inf if step == 1 else 1)
    e = experiment("architecture=linear", "init.networks=3", "outer.steps=3")
    module = module_of(e)
    assert fit(module, e.trainer).skipped_steps == 1
    assert all(tensor.isfinite().all() for tensor in module.parameters())


def test_as_many_in_a_row_as_asked_end_the_run(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more, and those before a finite one do not count."""
    spoil_one(monkeypatch, lambda step: 1 if step == 2 else torch.nan)
    e = experiment("architecture=linear", "outer.steps=9", "outer.max_skipped=3")
    with pytest.raises(UserError, match=r"not finite in 3 outer steps in a row, the last at step 5;"):
        fit(module_of(e), e.trainer)


def test_what_is_logged_of_the_meta_gradient(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Norm and variance over the networks, against each network by itself; skipped steps; the window."""
    spoil(monkeypatch, lambda step: torch.inf if step == 1 else 1)
    options = ("init.networks=3", "distilled.steps=4", "unroll=truncated", "unroll.window=3")
    e = experiment("outer.steps=4", *options)
    module = module_of(e)
    logged: dict[str, list[float]] = {}
    log = module.log

    def note(name: str, value: Any, **options: Any) -> None:
        logged.setdefault(name, []).append(float(value))
        log(name, value, **options)

    module.log = note  # type: ignore[method-assign]
    alone = module_of(e, AtStep)
    loss = OuterLoss(alone.problem, alone.distilled, e.outer, e.unroll, networks=1)
    for weights in alone.problem.population("init", 3):
        loss([weights], 0, alone.real_batch()).backward()
    norms = torch.cat(loss.norms)
    fit(module, e.trainer)
    assert logged["outer/meta_gradient_norm"][0] == pytest.approx(norms.mean().item(), rel=1e-4)
    assert logged["outer/meta_gradient_norm_max"][0] == pytest.approx(norms.max().item(), rel=1e-4)
    variance = norms.var(correction=0).item()
    assert logged["outer/meta_gradient_norm_variance"][0] == pytest.approx(variance, rel=1e-3)
    assert logged["outer/skipped_share"] == [0, 1 / 2, 1 / 3, 1 / 4]
    assert logged["unroll/window_start"] == [1, 1, 1, 1]


def test_many_in_a_row_end_the_run_with_a_reason(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, lambda _: torch.nan)
    e = experiment("outer.steps=9", "outer.max_skipped=3")
    module = module_of(e)
    before = state(module)
    with pytest.raises(UserError, match=r"not finite in 3 outer steps in a row"):
        fit(module, e.trainer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(module).items())


def test_a_run_that_ends_so_leaves_what_was_learned(
    experiment: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda step: torch.nan if step >= 2 else 1)
    with pytest.raises(UserError, match="not finite"):
        distill(experiment("outer.steps=9", "outer.max_skipped=3"), run)
    assert load_distilled(run.folder / "distilled.safetensors").images.isfinite().all()
    assert (run.folder / "images" / "grid.png").exists()


def test_the_checkpoint_of_the_best_validation_accuracy_is_kept(experiment: Make) -> None:
    """The last steps spoil the distilled data; what remains is what was best."""
    e = experiment("outer.steps=4", "evaluation.validation_every=1")
    module = module_of(e)
    seen = []
    validate = module.validation_step

    def blacken(batch: Tensor, batch_idx: int) -> None:
        if module.global_step >= 3:
            module.distilled.images.data.fill_(0)
        validate(batch, batch_idx)
        networks = module.problem.population("validation", 1)
        results = held_out(module.problem, module.validation, networks, module.schedule(1)).runs
        seen.append((results["accuracy"].mean(), state(module)))

    module.validation_step = blacken  # type: ignore[method-assign]
    outcome = fit(module, e.trainer)
    best = max(accuracy for accuracy, _ in seen)
    assert outcome.validation == pytest.approx(best)
    kept = next(kept for accuracy, kept in seen if accuracy == best)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in state(module).items())


def test_validation_trains_as_the_run_says(experiment: Make) -> None:
    """Against torch.optim: seven passes over the two steps at one rate with momentum, then a tenth of it."""
    ordinary = ["training.epochs=7", "training.learning_rate=0.05", "training.decay=0.1"]
    e = experiment("outer.steps=1", "training=dc", "training.batch_size=null", *ordinary)
    module, seen = module_of(e), {}
    module.log = lambda name, value, **_: seen.update({name: value})  # type: ignore[method-assign]
    with torch.no_grad():  # as Lightning calls it
        module.validation_step(torch.tensor([0]), 0)
    problem, network = module.problem, copy.deepcopy(module.problem.network)
    load_weights(network, problem.population("validation", 1)[0])
    sgd = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    rates = torch.optim.lr_scheduler.MultiStepLR(sgd, [4], gamma=0.1)
    for _ in range(7):
        for images, labels in zip(module.distilled.images, module.distilled.targets, strict=True):
            sgd.zero_grad()
            functional.cross_entropy(network(images), labels).backward()
            sgd.step()
        rates.step()
    images, labels = module.validation.batch(torch.arange(len(module.validation)))
    with torch.no_grad():
        loss = functional.cross_entropy(network(images), labels)
    assert seen["validation/loss"] == pytest.approx(float(loss), rel=1e-5)


def test_the_last_outer_step_is_validated(experiment: Make) -> None:
    """Though 3 does not divide 5; and once only where it does divide."""
    for steps, expected in ((5, [3, 5]), (6, [3, 6])):
        e = experiment(f"outer.steps={steps}", "evaluation.validation_every=3")
        module = module_of(e)
        seen: list[int] = []
        module.on_validation_start = lambda seen=seen, module=module: seen.append(module.global_step)
        outcome = fit(module, e.trainer)
        assert seen == expected
        assert (outcome.signal, outcome.outer_steps) == (None, steps)


def test_the_validation_loss_is_of_all_networks(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is not a number is not left out of the mean; a regression keeps what has the best one."""
    module = module_of(experiment("evaluation.validation_networks=2"))
    judged = held_out

    def diverged(*arguments: Any, **options: Any) -> HeldOutResult:
        result = judged(*arguments, **options)
        result.runs.loc[0, "loss"] = math.nan
        return result

    logged: dict[str, Any] = {}
    monkeypatch.setattr("dataset_distillation.outer.module.held_out", diverged)
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    module.validation_step(torch.zeros(1), 0)
    assert math.isnan(logged["validation/loss"])
    assert 0 <= logged["validation/accuracy"] <= 1


def test_the_validation_metric_is_of_all_networks(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mean and its unbiased deviation; neither leaves out a value that is not a number."""
    module = module_of(experiment("architecture=linear", "evaluation.validation_networks=3"))
    judged, logged = [0.5, 0.7, 0.9], {}

    def made(*_: Any) -> HeldOutResult:
        return HeldOutResult(pandas.DataFrame({"accuracy": judged, "loss": 1.0}), None)

    monkeypatch.setattr("dataset_distillation.outer.module.held_out", made)
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    module.validation_step(torch.zeros(1), 0)
    assert logged["validation/accuracy"] == pytest.approx(statistics.fmean(judged))
    assert logged["validation/accuracy_std"] == pytest.approx(statistics.stdev(judged))
    judged[1] = math.nan
    module.validation_step(torch.zeros(1), 0)
    assert math.isnan(logged["validation/accuracy"])
    assert math.isnan(logged["validation/accuracy_std"])


def test_a_run_without_a_finite_validation_says_what_it_keeps(
    experiment: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Best, "on_validation_end", lambda *_: None)  # as where no value is finite
    e = experiment("outer.steps=1")
    assert fit(module_of(e), e.trainer).validation is None
    assert "no validation was finite: the distilled data are those of the last outer step" in caplog.text
