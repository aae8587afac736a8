"""Distribution and gradient matching: known optima, and a step by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dataset_distillation as dd
from dataset_distillation.evaluation import matching
from dataset_distillation.evaluation.baselines import BaselineContext
from dataset_distillation.evaluation.real_sets import RealSet, Size
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.objectives.attack import Attack


def problem(
    architecture: dd.Linear | dd.LeNet | dd.MLP | nn.Module,
    augmentation: dd.Augmentation | None = None,
    different: int = 40,
) -> dd.Problem:
    """Three classes of 40 images, of which so many are `different`."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    images = torch.randn(3 * different, 1, 4, 4, generator=generator).repeat(40 // different, 1, 1, 1)
    images = images + labels[:, None, None, None]
    test = (images[:30], labels[:30])
    return dd.Problem.of(images, labels, architecture, test=test, augmentation=augmentation)


@pytest.mark.parametrize(("augmentation", "steps"), [(None, 60), (dd.ShiftRotate(pixels=0.5), 400)])
def test_on_linear_features_the_images_become_the_means_of_their_classes(
    augmentation: dd.Augmentation | None, steps: int
) -> None:
    """What enters the only layer are the pixels, and the real batch is the whole train split.

    Shifts and rotations are linear, too: an image that is changed as the real ones has the same optimum.
    """
    linear = problem(dd.Linear(), augmentation)
    made = matching.distribution_matching(linear, Size(1, 1), steps=steps)
    train = linear.data.train
    images, labels = train.batch(torch.arange(len(train)))
    means = torch.stack([images[labels == label].mean(dim=0) for label in range(3)])
    torch.testing.assert_close(made.images[0], means, rtol=0, atol=1e-4)
    assert made.labels.tolist() == [[0, 1, 2]]


def test_features_are_what_enters_the_last_layer() -> None:
    mlp = problem(dd.MLP(width=5, layers=2))
    [weights] = mlp.population("init", 1)
    images = torch.randn(7, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    found = matching.features(mlp.network, weights, images)
    *_, last = [name for name in weights if weights[name].ndim == 2]
    outputs = torch.func.functional_call(mlp.network, weights, (images,))
    by_hand = found @ weights[last].T + weights[last.replace("weight", "bias")]
    torch.testing.assert_close(by_hand, outputs)


def by_hand(weight: Tensor, images: Tensor, label: int) -> Tensor:
    """The gradient of the mean cross-entropy of a linear model without bias: (p − y) xᵀ."""
    points = images.flatten(1)
    wrong = torch.softmax(points @ weight.T, dim=1) - torch.eye(len(weight))[label]
    return wrong.T @ points / len(points)


def test_the_gradient_of_gradient_matching_is_that_of_finite_differences() -> None:
    linear = problem(dd.Linear(bias=False))
    linear.network.double()
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(3, 16, generator=generator, dtype=torch.float64)
    real = torch.randn(5, 1, 4, 4, generator=generator, dtype=torch.float64)
    image = torch.randn(1, 1, 4, 4, generator=generator, dtype=torch.float64).requires_grad_()
    [name] = [name for name, _ in linear.network.named_parameters()]

    def loss(at: Tensor) -> Tensor:
        a, b = by_hand(weight, at, 1), by_hand(weight, real, 1)
        return (1 - (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))).sum()

    labels = torch.full((1,), 1)
    found = matching.gradients(linear, {name: weight}, image, labels, graph=True)
    wanted = matching.gradients(linear, {name: weight}, real, labels.expand(5))
    apart = matching.distance(found, wanted)
    torch.testing.assert_close(apart, loss(image.detach()))
    [gradient] = torch.autograd.grad(apart, image)
    direction = torch.randn(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    ahead, behind = (loss(image.detach() + sign * 1e-5 * direction) for sign in (1, -1))
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-7, atol=0)


def test_two_steps_of_distribution_matching_by_hand() -> None:
    """SGD at the rate 1 with momentum 1/2 on |x − m|²: from x to 2m − x, and then to m."""
    linear = problem(dd.Linear())
    images, labels = linear.data.train.batch()
    m = torch.stack([images[labels == label].mean(dim=0) for label in range(3)])
    x, once, twice = (matching.distribution_matching(linear, Size(1, 1), n).images[0] for n in range(3))
    torch.testing.assert_close(once, 2 * m - x, rtol=0, atol=1e-5)
    torch.testing.assert_close(twice, m, rtol=0, atol=1e-5)


def test_a_step_of_gradient_matching_by_hand() -> None:
    """At the rate 0.1, on the sum over the classes."""
    linear = problem(dd.Linear(bias=False))
    x, once = (matching.gradient_matching(linear, Size(1, 1), n).images[0] for n in range(2))
    [[weight]] = [weights.values() for weights in linear.population("init", 1)]
    real, classes = linear.data.train.batch()
    at, apart = x.clone().requires_grad_(), torch.zeros(())
    for label in range(3):
        a, b = by_hand(weight, at[label : label + 1], label), by_hand(weight, real[classes == label], label)
        apart = apart + (1 - nn.functional.cosine_similarity(a, b, dim=1)).sum()
    [gradient] = torch.autograd.grad(apart, at)
    torch.testing.assert_close(once, x - 0.1 * gradient, rtol=0, atol=1e-5)


def test_each_step_has_real_images_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert matching.REAL == 256  # as in the papers
    monkeypatch.setattr(matching, "REAL", 5)
    linear = problem(dd.Linear())
    (first, classes), (again, _), (other, _) = (matching.real_batch(linear, step) for step in (0, 0, 1))
    assert torch.bincount(classes).tolist() == [5] * 3
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_images_of_all_steps_count_for_the_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are those of the published code."""
    assert matching.TURNS == {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
    between: list[int] = []
    monkeypatch.setattr(matching, "trained", lambda _, weights, *rest: between.append(rest[-2]) or weights)
    matching.gradient_matching(problem(dd.Linear()), Size(5, 2), steps=2)
    assert between == [50]


def test_an_attack_is_matched_on_its_labels() -> None:
    linear = replace(problem(dd.Linear(bias=False)), objective=Attack())
    [weights] = linear.population("init", 1)
    [weight] = weights.values()
    x = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    [found] = matching.gradients(linear, weights, x, torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(found, by_hand(weight, x, 1))


def test_gradient_matching_brings_the_gradients_together() -> None:
    """Of networks that it has not met."""
    mlp = problem(dd.MLP(width=16, layers=2))
    [start, made] = (matching.gradient_matching(mlp, Size(1, 1), steps) for steps in (0, 60))
    [weights] = mlp.population("held-out", 1)
    real, classes = matching.real_batch(mlp, 999)

    def apart(images: Tensor) -> float:
        distances = [
            matching.distance(
                matching.gradients(mlp, weights, images[0, label : label + 1], torch.tensor([label])),
                matching.gradients(mlp, weights, real[classes == label], classes[classes == label]),
            )
            for label in range(3)
        ]
        return float(torch.stack(distances).sum())

    assert apart(made.images) < 0.9 * apart(start.images)


def test_gradient_matching_changes_both_sides_alike() -> None:
    """Where all real images of a class are one image, the start is the optimum, whatever changes both."""
    mlp = problem(dd.MLP(width=8, layers=2), dd.ShiftRotate(pixels=1), different=1)
    start, made, plain = (
        matching.gradient_matching(each, Size(1, 1), steps).images
        for each, steps in ((mlp, 0), (mlp, 20), (problem(dd.MLP(width=8, layers=2)), 20))
    )
    torch.testing.assert_close(made, start, rtol=0, atol=1e-3)
    assert (plain - start).abs().max() > 0.1


def test_a_class_has_one_draw_in_a_step_and_each_step_another() -> None:
    linear = problem(dd.Linear(), dd.ShiftRotate(pixels=1))
    same = linear.data.train.batch(torch.tensor([0, 0, 1, 0]))
    labels = torch.tensor([0, 0, 1, 2])
    first, second = (matching.augmented(linear, same.images, labels, step) for step in (0, 1))
    assert torch.equal(first[0], first[1])
    draws = [same.images[0], first[0], first[3], second[0]]
    assert len({tuple(image.flatten().tolist()) for image in draws}) == 4


@pytest.mark.parametrize("method", [matching.distribution_matching, matching.gradient_matching])
def test_what_networks_see_is_augmented(
    method: Callable[..., RealSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both the real images and those that are made: black ones show nothing of it, and are no step."""
    sides: list[int] = []
    monkeypatch.setattr(matching, "augmented", lambda _, images, *__: sides.append(len(images)) or 0 * images)
    start, made = (method(problem(dd.Linear()), Size(1, 1), steps).images for steps in (0, 2))
    assert sides == [108, 3] * 2  # of 120 images, a tenth validates
    assert torch.equal(start, made)


def test_images_and_network_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ten images of a class: ten turns for each initialization, with fifty epochs between two."""
    linear = problem(dd.Linear())
    begun: list[int] = []
    between: list[tuple[int, int]] = []

    def population(_: dd.Problem, purpose: str, number: int, step: int = 0) -> list[dict[str, Tensor]]:
        assert (purpose, number) == ("init", 1)
        begun.append(step)
        return [{name: weight.detach() for name, weight in linear.network.named_parameters()}]

    def trained(_: dd.Problem, weights: dict[str, Tensor], *rest: Any) -> dict[str, Tensor]:
        between.append(rest[-2:])
        return weights

    monkeypatch.setattr(dd.Problem, "population", population)
    monkeypatch.setattr(matching, "trained", trained)
    matching.gradient_matching(linear, Size(10, 1), steps=12)
    assert begun == [0, 1]
    assert between == [(50, step) for step in (*range(1, 10), 11)]


def test_the_network_is_trained_as_torch_trains_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of batches of four in an order of their own, each image changed by draws of its own."""
    linear, seen = problem(dd.Linear(), dd.ShiftRotate(pixels=1)), []
    [weights] = linear.population("init", 1)
    images, labels = linear.data.train.batch(torch.zeros(6, dtype=torch.long))
    labels = torch.arange(6) % 3
    gradients = matching.gradients

    def watched(*arguments: Any) -> list[Tensor]:
        seen.append(arguments[2:4])
        return gradients(*arguments)

    monkeypatch.setattr(matching, "BATCH", 4)
    monkeypatch.setattr(matching, "gradients", watched)
    found = matching.trained(linear, weights, images, labels, epochs=2, turn=1)
    assert [len(batch) for batch, _ in seen] == [4, 2, 4, 2]
    assert len({tuple(image.flatten().tolist()) for batch, _ in seen for image in batch}) == 12
    first, second = (torch.cat([kinds for _, kinds in seen[at : at + 2]]).tolist() for at in (0, 2))
    assert sorted(first) == sorted(second) == sorted(labels.tolist())
    assert first != second
    load_weights(linear.network, weights)
    sgd = torch.optim.SGD(linear.network.parameters(), lr=0.01)
    for batch, kinds in seen:
        sgd.zero_grad()
        nn.functional.cross_entropy(linear.network(batch), kinds).backward()
        sgd.step()
    for name, weight in linear.network.named_parameters():
        torch.testing.assert_close(found[name], weight.detach())


def test_the_option_is_the_number_of_steps() -> None:
    linear = problem(dd.Linear())
    context = BaselineContext(linear, dd.Evaluation(matching_steps=2), [], Size(1, 1))
    for method in (matching.distribution_matching, matching.gradient_matching):
        made = context.matched(method).images
        assert torch.equal(made, method(linear, Size(1, 1), 2).images)
        assert not torch.equal(made, method(linear, Size(1, 1), 3).images)


@pytest.mark.slow
def test_they_are_rows_of_the_table() -> None:
    mlp = problem(dd.MLP(width=8, layers=2))
    distilled = dd.distill(mlp, dd.Distilled(steps=2, epochs=1), dd.Outer(steps=2))
    table = dd.evaluate(mlp, distilled, networks=2, baselines=["distribution_matching", "gradient_matching"])
    assert {"distribution_matching", "gradient_matching"} <= set(table["method"])


class Attentive(nn.Module):
    """Attention over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.classify = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.block(images[:, 0]).mean(1))


def test_gradients_of_attention_are_matched() -> None:
    """Its fused kernels have no second derivative."""
    attentive = problem(Attentive())
    made = matching.gradient_matching(attentive, Size(1, 1), steps=2)
    assert made.images.isfinite().all()


def test_a_network_that_cannot_see_one_image_is_refused_before_the_run() -> None:
    normed = problem(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)))
    told = "evaluation.baselines=gradient_matching: gives the network one image at a time here"
    with pytest.raises(dd.ConfigError, match=told):
        matching.check(normed, ["gradient_matching"], images_per_class=1)
    matching.check(normed, ["gradient_matching"], images_per_class=2)
    matching.check(problem(dd.MLP()), ["gradient_matching", "distribution_matching"], images_per_class=1)
    distilled = dd.distill(normed, dd.Distilled(steps=1, epochs=1), dd.Outer(steps=1))
    with pytest.raises(dd.ConfigError, match=told):
        dd.evaluate(normed, distilled, 1, baselines=["gradient_matching"])
