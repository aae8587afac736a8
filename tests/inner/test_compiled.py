"""A compiled inner step is the inner step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.inner import compiled
from dataset_distillation.inner.adjoint import Recomputed
from dataset_distillation.inner.compiled import CompiledSteps
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.inner_optimizers.adam import Adam
from dataset_distillation.inner_optimizers.momentum import Momentum
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.full import Full
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.traced import Traced
from dataset_distillation.unroll.truncated import Truncated
from support.cases import OPTIMIZERS, Case, OnConvNet, OnLeNet, assert_equal
from support.machine import compiler
from support.networks import OPTIONS, losses_and_gradients

Make = Callable[..., Experiment]

# The trace is what torch compiles; "eager" runs it as it is, and needs no compiler.
EAGER = "eager"


def meta_gradient(
    case: Case, engine: Unroll, optimizer: InnerOptimizer, own: CompiledSteps
) -> tuple[Tensor, ...]:
    by = Recomputed(compiled=own)
    inner = InnerTraining(case.network, case.weights, optimizer, functional.cross_entropy, by)
    loss = case.outer_loss(engine.unroll(inner, case.steps()))
    return torch.autograd.grad(loss, list(case.meta.values()))


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        (Case, OPTIMIZERS["nesterov-decay"]),
        (Case, OPTIMIZERS["adam-decay"]),
        *(pytest.param(Case, optimizer, marks=pytest.mark.slow) for optimizer in OPTIMIZERS.values()),
        pytest.param(OnLeNet, Momentum(), marks=pytest.mark.slow),
        pytest.param(OnConvNet, Adam(), marks=pytest.mark.slow),
    ],
)
def test_the_same_meta_gradient(kind: type[Case], optimizer: InnerOptimizer) -> None:
    """Twice with the same programs: other weights, other images and the number of the step are arguments."""
    case, own = kind(2, 2, 3), CompiledSteps(EAGER)
    for _ in range(2):
        ours = meta_gradient(case, Recompute(), optimizer, own)
        assert_equal(ours, case.meta_gradient(Full(), optimizer), 1e-9)
        assert len(own.programs) == 2
        case.images.data *= 1.5
        case.weights = {name: 0.7 * weight for name, weight in case.weights.items()}


def test_a_window() -> None:
    case, engine = Case(5, 1, 3), Truncated(window=2, start="2")
    ours = meta_gradient(case, engine, Adam(), CompiledSteps(EAGER))
    assert_equal(ours, case.meta_gradient(engine, Adam()), 1e-12)


@pytest.mark.parametrize("learned", [["images"], ["rates"]])
def test_what_is_not_learned_has_no_gradient(learned: list[str]) -> None:
    case = Case(2, 2, 3)
    for name, tensor in case.meta.items():
        tensor.requires_grad_(name in learned)
    meta = [case.meta[name] for name in learned]
    by = Recomputed(compiled=CompiledSteps(EAGER))
    inner = InnerTraining(case.network, case.weights, SGD(), functional.cross_entropy, by)
    ours = torch.autograd.grad(case.outer_loss(Recompute().unroll(inner, case.steps())), meta)
    theirs = torch.autograd.grad(case.outer_loss(case.final_weights(Full(), SGD())), meta)
    assert_equal(ours, theirs, 1e-12)


def test_frozen_weights_are_those_of_each_network() -> None:
    case, own = Case(2, 2, 3), CompiledSteps(EAGER)
    case.network[1].requires_grad_(False)
    for _ in range(2):
        ours = meta_gradient(case, Recompute(), SGD(), own)
        assert_equal(ours, case.meta_gradient(Full(), SGD()), 1e-12)
        case.weights = {name: 0.5 * weight for name, weight in case.weights.items()}


@pytest.mark.slow
@compiler
@pytest.mark.parametrize("optimizer", [SGD(), Adam()])
def test_compiled_by_torch(optimizer: InnerOptimizer) -> None:
    case = OnLeNet(2, 2, 3)
    ours = meta_gradient(case, Recompute(), optimizer, CompiledSteps())
    assert_equal(ours, case.meta_gradient(Full(), optimizer), 1e-9)


@pytest.mark.slow
@compiler
@pytest.mark.parametrize("engine", [Recompute(compile=True), Traced(compile=True)])
def test_what_rounding_makes_of_a_bias_before_a_norm_is_no_error(engine: Unroll) -> None:
    """Its gradient is nothing but rounding, of which Adam makes a full step; the images hardly notice."""
    case = OnConvNet(2, 1, 3).single()
    ours, theirs = case.meta_gradient(engine, Adam()), case.meta_gradient(Recompute(), Adam())
    assert_equal(ours, theirs, 0.02)


@pytest.mark.parametrize("together", ["on", pytest.param("off", marks=pytest.mark.slow)])
@pytest.mark.parametrize("engine", ["recompute", "truncated"])
@pytest.mark.parametrize("architecture", ["mlp", pytest.param("lenet", marks=pytest.mark.slow)])
def test_the_networks_of_an_outer_step(
    architecture: str, engine: str, together: str, experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "CompiledSteps", lambda: CompiledSteps(EAGER))
    e = experiment(*OPTIONS, f"architecture={architecture}", f"unroll={engine}", "unroll.compile=true")
    ours = losses_and_gradients(e, together)
    plain = dataclasses.replace(e, unroll=dataclasses.replace(e.unroll, compile=False))
    for a, b in zip(ours, losses_and_gradients(plain, together), strict=True):
        assert (a - b).norm() <= 1e-9 * b.norm()


def test_bf16() -> None:
    """The trace has the casts."""
    case = OnLeNet(2, 2, 3).single()
    with torch.autocast("cpu", torch.bfloat16):
        ours = meta_gradient(case, Recompute(), SGD(), CompiledSteps(EAGER))
        theirs = case.meta_gradient(Recompute(), SGD())
    single = case.meta_gradient(Recompute(), SGD())
    assert_equal(ours, theirs, 1e-5)
    assert (single[0] - ours[0]).norm() > 1e-4 * single[0].norm()


def test_a_program_that_computes_another_step_is_refused() -> None:
    class Counting(nn.Linear):
        """Its path is another one after the trace."""

        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x) * (2 if self.calls > 1 else 1)

    case = Case(2, 1, 3)
    case.network[3] = Counting(5, 3).double()
    with pytest.raises(ConfigError, match=r"unroll.compile=True: the compiled network computes something"):
        meta_gradient(case, Recompute(), SGD(), CompiledSteps(EAGER))


@pytest.mark.parametrize("function", ["advance", "vector_jacobian"])
@pytest.mark.parametrize("output", [0, -1])
def test_a_compiler_that_is_wrong_is_found_out(
    function: str, output: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(program: Callable[..., list[Tensor]], **_: Any) -> Callable[..., list[Tensor]]:
        def run(*arguments: Any) -> list[Tensor]:
            found = list(program(*arguments))
            if len(arguments) == (5 if function == "vector_jacobian" else 4):
                found[output] = found[output] * 1.02
            return found

        return run

    monkeypatch.setattr(torch, "compile", wrong)
    with pytest.raises(ConfigError, match=r"unroll.compile=True: the compiled network computes"):
        meta_gradient(Case(2, 1, 3), Recompute(), SGD(), CompiledSteps(EAGER))


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("No working C++ compiler\nand many lines more")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ConfigError, match=r"^unroll.compile=True: torch cannot .*working C\+\+ compiler\);"):
        meta_gradient(Case(2, 1, 3), Recompute(), SGD(), CompiledSteps())


def test_the_graph_of_higher_is_not_compiled(experiment: Make) -> None:
    with pytest.raises(ConfigError, match=r"unroll.compile=True: must be false with unroll=full.*recompute"):
        experiment("unroll.compile=true")
