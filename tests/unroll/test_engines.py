"""The meta-gradient against closed forms, finite differences, torch.optim and a reference written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.meta_gradient import allocated
from dataset_distillation.architectures import Weights
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.inner_optimizers import InnerOptimizer, Step
from dataset_distillation.inner_optimizers.adam import Adam
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.full import Full
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.traced import Traced
from dataset_distillation.unroll.truncated import Truncated
from support.cases import CASES, Case, OnConvNet, OnLeNet, assert_equal, by_hand, optimizers

ENGINES: dict[str, Unroll] = {
    "full": Full(),
    "recompute": Recompute(),
    "traced": Traced(),
    "window of all steps": Truncated(window=100, start="0"),
}
engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Eq 5: ‖dθ − t‖² / (2M)."""
    return (outputs - targets).square().sum() / (2 * len(targets))


def weights_of(network: nn.Module) -> Weights:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


@optimizers
@pytest.mark.parametrize(
    ("sizes", "engine"),
    [(s, e) for e in ENGINES.values() for s in CASES if s == (3, 2, 3) or not isinstance(e, Traced)],
)
def test_the_meta_gradient_is_that_of_finite_differences(
    sizes: tuple[int, int, int], optimizer: InnerOptimizer, engine: Unroll
) -> None:
    case = Case(*sizes)
    h = 1e-6  # Adam's first steps turn sharply where a gradient is near 0: not more
    gradients = case.meta_gradient(engine, optimizer)
    for tensor, gradient in zip(case.meta.values(), gradients, strict=True):
        direction = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        losses = []
        for way in (h, -2 * h):
            tensor.data += way * direction
            losses.append(case.outer_loss(case.final_weights(engine, optimizer)).detach())
        tensor.data += h * direction
        expected = (losses[0] - losses[1]) / (2 * h)
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-6, atol=3e-10)


@optimizers
@pytest.mark.parametrize("kind", [OnLeNet, pytest.param(OnConvNet, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 1, 1), (2, 2, 3), (10, 3, 1)])
def test_the_engines_agree(kind: type[Case], sizes: tuple[int, int, int], optimizer: InnerOptimizer) -> None:
    case = kind(*sizes)
    reference = case.meta_gradient(ENGINES["full"], optimizer)
    assert all(gradient.norm() > 0 for gradient in reference)
    for name in ENGINES.keys() - {"full"}:
        if name == "traced" and (sizes != (2, 2, 3) or optimizer.weight_decay):
            continue  # a trace takes a second; other optimizers and numbers of steps are in the tests above
        assert_equal(case.meta_gradient(ENGINES[name], optimizer), reference, 1e-9)


@engines
def test_one_step_of_the_linear_case_is_equation_6(engine: Unroll) -> None:
    """θ1 = (I − (η̃/M) d̃ᵀd̃) θ0 + (η̃/M) d̃ᵀt̃, and the derivatives of L = ‖θ1 − θ*‖² / 2, by hand."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((3, 4), (3, 1), (4, 1), (4, 1))
    d, t, theta, optimum = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in sizes)
    rate = torch.tensor(0.3, dtype=torch.float64)
    network = nn.Linear(4, 1, bias=False).double()
    step = Step(*(tensor.requires_grad_() for tensor in (d, t, rate)))
    inner = InnerTraining(network, {"weight": theta.T.clone()}, SGD(), squared, by=engine.linearization())
    final = engine.unroll(inner, [step])["weight"].T
    expected = (torch.eye(4) - rate / 3 * d.T @ d) @ theta + rate / 3 * d.T @ t
    torch.testing.assert_close(final, expected, rtol=1e-14, atol=1e-14)
    ours = torch.autograd.grad((final - optimum).square().sum() / 2, step)
    u, r = expected - optimum, d @ theta - t
    by_hand = (-rate / 3 * (r @ u.T + d @ u @ theta.T), rate / 3 * d @ u, -(u.T @ d.T @ r).squeeze() / 3)
    assert_equal(ours, by_hand, 1e-13)


@engines
@pytest.mark.parametrize("steps", [1, 2, 30])
def test_many_steps_on_a_quadratic(engine: Unroll, steps: int) -> None:
    """ℓ = (xθ − y)² / 2: θT = y/x + Π (1 − η̃_t x²) (θ0 − y/x)."""
    x, y = (torch.tensor([[v]], dtype=torch.float64, requires_grad=True) for v in (0.8, 0.5))
    rates = torch.linspace(0.1, 0.4, steps, dtype=torch.float64).requires_grad_()
    network = nn.Linear(1, 1, bias=False).double()
    theta = torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
    inner = InnerTraining(network, {"weight": theta}, SGD(), squared, by=engine.linearization())
    final = engine.unroll(inner, [Step(x, y, rate) for rate in rates])["weight"]
    closed = y / x + (1 - rates * x.squeeze() ** 2).prod() * (theta - y / x)
    torch.testing.assert_close(final, closed, rtol=1e-13, atol=0)
    # No gradient comes out of the beginning of a window.
    inputs = (x, y, rates) if isinstance(engine, Truncated) else (x, y, rates, theta)
    assert_equal(torch.autograd.grad(final, inputs), torch.autograd.grad(closed, inputs), 1e-12)


@engines
@optimizers
@pytest.mark.parametrize("sizes", [(2, 1, 2), (3, 3, 3)])
def test_the_meta_gradient_is_that_of_a_reference_written_by_hand(
    sizes: tuple[int, int, int], optimizer: InnerOptimizer, engine: Unroll
) -> None:
    case = Case(*sizes)
    assert_equal(case.meta_gradient(engine, optimizer), by_hand(optimizer, case), 1e-10)


@engines
@optimizers
def test_the_same_weights_as_plain_training_with_torch_optim(
    optimizer: InnerOptimizer, engine: Unroll
) -> None:
    case = Case(4, 3, 3)
    final = case.final_weights(engine, optimizer)
    load_weights(case.network, case.weights)
    training.train(case.network, case.steps(), optimizer)
    for name, parameter in case.network.named_parameters():
        torch.testing.assert_close(parameter.detach(), final[name].detach(), rtol=1e-12, atol=1e-12)


@engines
@optimizers
def test_the_meta_gradient_is_finite_where_a_unit_is_dead(optimizer: InnerOptimizer, engine: Unroll) -> None:
    """Its weights have gradient 0 in every step, where Adam divides by the root of 0."""
    case = Case(2, 2, 3)
    case.network[2] = nn.ReLU()
    case.weights["1.bias"][0] = -100.0
    for gradient in case.meta_gradient(engine, optimizer):
        assert gradient.isfinite().all()
        assert gradient.norm() > 0


@engines
@pytest.mark.parametrize("learned", [["images"], ["labels"], ["rates"], []])
def test_what_is_not_learned_has_no_gradient(learned: list[str], engine: Unroll) -> None:
    case = Case(2, 2, 3)
    everything = dict(zip(case.meta, case.meta_gradient(engine, SGD()), strict=True))
    for name, tensor in case.meta.items():
        tensor.requires_grad_(name in learned)
    loss = case.outer_loss(case.final_weights(engine, SGD()))
    if learned:
        loss.backward()
    for name, tensor in case.meta.items():
        assert (tensor.grad is not None) == (name in learned)
        if name in learned:
            assert_equal((tensor.grad,), (everything[name],), 1e-12)


@engines
def test_neither_the_network_nor_the_initial_weights_change(engine: Unroll) -> None:
    case = Case(2, 1, 3)
    before = weights_of(case.network), {name: weight.clone() for name, weight in case.weights.items()}
    case.outer_loss(case.final_weights(engine, SGD())).backward()
    for name, parameter in case.network.named_parameters():
        assert torch.equal(parameter, before[0][name])
        assert parameter.grad is None
        assert torch.equal(case.weights[name], before[1][name])


@engines
def test_what_the_way_back_needs_ends_with_it(engine: Unroll) -> None:
    """Not with the loss: a caller may hold that for longer."""
    case = Case(2, 2, 3)
    loss = sum(weight.sum() for weight in case.final_weights(engine, SGD()).values())  # a sum keeps nothing
    [first] = torch.autograd.grad(loss, case.images, retain_graph=True)
    [second] = torch.autograd.grad(loss, case.images)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, case.images)


@pytest.mark.parametrize("engine", [Full(), Recompute(), Traced()], ids=["full", "recompute", "traced"])
def test_weights_that_change_before_the_way_back_are_refused(engine: Unroll) -> None:
    case = Case(2, 2, 3)
    loss = case.outer_loss(case.final_weights(engine, SGD()))
    for weight in case.weights.values():
        weight.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("offload", [False, True])
def test_recompute_grows_by_the_stored_weights_alone(offload: bool) -> None:
    case, engine = OnLeNet(2, 1, 2), Recompute(offload=offload)
    stored = sum(weight.nbytes for weight in case.weights.values())

    def peak(epochs: int) -> int:
        case.rates = torch.full((epochs, 2), 0.01, dtype=torch.float64, requires_grad=True)
        case.meta_gradient(engine, SGD())  # what is allocated once
        return allocated(lambda: case.meta_gradient(engine, SGD()))

    assert (peak(10) - peak(2)) / (16 * stored) == pytest.approx(1, abs=0.01)


@engines
@pytest.mark.parametrize("optimizer", [SGD(weight_decay=0.1), Adam(weight_decay=0.1)])
def test_a_frozen_parameter_stays(engine: Unroll, optimizer: InnerOptimizer) -> None:
    case = Case(3, 2, 3)
    case.network[1].requires_grad_(False)
    final = case.final_weights(engine, optimizer)
    assert torch.equal(final["1.weight"], case.weights["1.weight"])
    assert not torch.equal(final["3.weight"], case.weights["3.weight"])
    load_weights(case.network, case.weights)
    training.train(case.network, case.steps(), optimizer)
    for name, parameter in case.network.named_parameters():
        torch.testing.assert_close(parameter.detach(), final[name].detach(), rtol=1e-12, atol=1e-12)
    assert_equal(case.meta_gradient(engine, optimizer), case.meta_gradient(Full(), optimizer), 1e-10)
