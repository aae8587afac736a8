"""Inner steps and real batches as traced programs; `tests/unroll/test_engines.py` has their exactness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dataset_distillation.errors import ConfigError
from dataset_distillation.inner import linearized
from dataset_distillation.inner.linearized import Linearized
from dataset_distillation.inner.traced import TracedOutputs, TracedSteps
from dataset_distillation.inner_optimizers.adam import Adam
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.unroll.full import Full
from dataset_distillation.unroll.traced import Traced
from dataset_distillation.unroll.truncated import Truncated
from support.cases import Case, OnConvNet, OnLeNet, assert_equal
from support.machine import compiler


def test_one_trace_serves_all_steps_and_networks() -> None:
    """Other weights, other images and the number of the step are inputs; Adam depends on the last."""
    case, engine = Case(2, 2, 3), Traced()
    for _ in range(2):
        assert_equal(case.meta_gradient(engine, Adam()), case.meta_gradient(Full(), Adam()), 1e-10)
        case.images.data *= 1.5
        case.weights = {name: 0.7 * weight for name, weight in case.weights.items()}
    [steps] = [by for by in case.programs.values() if isinstance(by, TracedSteps)]
    assert len(steps.programs) == 1


def test_what_is_computed_on_the_way_there_is_not_computed_again() -> None:
    """tanh is expensive: it is in the program there, and the way back gets it."""
    x, w = torch.linspace(-1, 1, 5, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    pair = Linearized(lambda x, w: [torch.tanh(x * w).exp()], [x, w], learned=[True, False])
    assert "aten.tanh.default" in pair.forward.code  # type: ignore[attr-defined]
    assert "aten.tanh.default" not in pair.backward.code  # type: ignore[attr-defined]
    [y], kept = pair.there([x, w])
    [gradient] = pair.back(kept, [torch.ones_like(y)])
    torch.testing.assert_close(gradient, y * (1 - torch.tanh(2 * x) ** 2) * 2, rtol=1e-12, atol=0)


def test_networks_that_work_in_place_and_share_weights() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
            self.again = self.first

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu_(self.first(x.flatten(1)))
            return self.last(self.again(x).relu_())  # type: ignore[no-any-return]

    class OnTied(Case):
        def build(self) -> nn.Module:
            return Tied()

    case = OnTied(2, 2, 3)
    assert set(case.weights) == {"first.weight", "first.bias", "last.weight", "last.bias"}
    assert_equal(case.meta_gradient(Traced(), SGD()), case.meta_gradient(Full(), SGD()), 1e-10)


def test_a_stored_window() -> None:
    case, optimizer = OnLeNet(2, 2, 3), SGD()
    stored, again = (
        case.meta_gradient(Truncated(window=2, start="1", stored=s), optimizer) for s in (True, False)
    )
    assert_equal(stored, again, 1e-9)


def test_bf16() -> None:
    """The trace has the casts."""
    case = OnLeNet(2, 2, 3).single()
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (case.meta_gradient(engine, SGD()) for engine in (Traced(), Full()))
    single = case.meta_gradient(Full(), SGD())
    # bf16 has 8 bits, and the two engines round at different places.
    assert_equal(ours, theirs, 0.05)
    assert (single[0] - ours[0]).norm() > 1e-3 * single[0].norm()


def test_control_flow_that_depends_on_data_is_refused() -> None:
    class Choosing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y if y.sum() > 0 else 2 * y

    case = Case(2, 1, 3)
    case.network[3] = Choosing(5, 3).double()
    with pytest.raises(ConfigError, match=r"^unroll=traced: this network cannot be traced .*use unroll=rec"):
        case.meta_gradient(Traced(), SGD())


def test_a_network_whose_path_changes_is_refused() -> None:
    class Counting(nn.Linear):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x) * self.calls

    case = Case(2, 1, 3)
    case.network[3] = Counting(5, 3).double()
    with pytest.raises(ConfigError, match=r"its trace computes something else.*use unroll=recompute"):
        case.meta_gradient(Traced(), SGD())


def test_the_real_batch() -> None:
    """In chunks of two sizes, whose programs are kept; a frozen weight gets no gradient."""
    case = OnLeNet(1, 1, 1)

    def function(weights: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(case.network, weights, (images,))  # type: ignore[no-any-return]

    weights = {n: w.clone().requires_grad_(not n.startswith("0.")) for n, w in case.weights.items()}
    traced, adjoint = TracedOutputs(function), torch.linspace(-1, 1, 60, dtype=torch.float64).view(6, 10)
    for _ in range(2):
        ours, theirs = (torch.cat([f(weights, x) for x in case.real.split(4)]) for f in (traced, function))
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        learned = [weight for weight in weights.values() if weight.requires_grad]
        assert_equal(*(torch.autograd.grad(y, learned, adjoint) for y in (ours, theirs)), error=1e-10)
        weights = {n: (0.7 * w).detach().requires_grad_(w.requires_grad) for n, w in weights.items()}
    assert len(traced.programs) == 2


@compiler
@pytest.mark.parametrize("kind", [Case, pytest.param(OnLeNet, marks=pytest.mark.slow)])
def test_compiled_by_torch(kind: type[Case]) -> None:
    case = kind(2, 2, 3)
    assert_equal(case.meta_gradient(Traced(compile=True), SGD()), case.meta_gradient(Full(), SGD()), 1e-9)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("program", [0, 1], ids=["there", "back"])
def test_a_compiler_that_is_wrong_is_found_out(
    program: int, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def wrong(function: Callable[..., Any], _: Any, **__: Any) -> Callable[..., Any]:
        made.append(function)
        factor = 1.02 if len(made) - 1 == program else 1.0
        return lambda *inputs: [factor * result for result in function(*inputs)]

    monkeypatch.setattr(linearized, "compile_graph", wrong)
    told = r"^unroll.compile=True: .*it computes something else"
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), pytest.raises(ConfigError, match=told):
        Case(2, 1, 3).meta_gradient(Traced(compile=True), SGD())


@pytest.mark.parametrize("error", [pytest.param(2e-7, marks=pytest.mark.slow), 1e-5])
def test_a_compiler_that_rounds_otherwise_is_right(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the gradient of a bias before a norm, which is nothing but rounding, Adam makes a full step.

    The programs are compared where this does not matter: the larger error is beyond what `nudged` shows.
    """

    def rounding(function: Callable[..., Any], _: Any, **__: Any) -> Callable[..., Any]:
        return lambda *inputs: function(*(t * (1 + error) if t.dtype == torch.float32 else t for t in inputs))

    monkeypatch.setattr(linearized, "compile_graph", rounding)
    OnConvNet(2, 1, 3).single().meta_gradient(Traced(compile=True), Adam())


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("No working C++ compiler\nand many lines more")

    monkeypatch.setattr(linearized, "compile_graph", broken)
    with pytest.raises(ConfigError, match=r"^unroll.compile=True: .*working C\+\+ compiler\); use"):
        Case(2, 1, 3).meta_gradient(Traced(compile=True), SGD())
