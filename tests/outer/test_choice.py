"""What `unroll=auto` stands for, and that a run keeps it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from torch import Tensor, nn

from dataset_distillation.distilled.start import start
from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer import choice
from dataset_distillation.pipeline.distill import distill
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.run.fields import Engine
from dataset_distillation.run.records import RunRecord, read
from dataset_distillation.run.run import Run
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.auto import Auto

Make = Callable[..., Experiment]


@pytest.fixture
def choose(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The overrides that select the engine which `auto` stands for."""

    def chosen(
        *options: str,
        kernels: bool = True,
        compiler: bool = True,
        free: int = 10**12,
        network: nn.Module | None = None,
    ) -> str:
        monkeypatch.setattr(choice, "available", lambda: kernels)
        monkeypatch.setattr(choice, "_compiler", lambda: compiler)
        monkeypatch.setattr(choice, "free", lambda device: free)
        e = experiment("unroll=auto", *options)
        problem = prepare(e)
        if network is not None:
            object.__setattr__(problem, "network", network)
        data = start(e.distilled, problem.data.train, e.seed)
        return choice.words(choice.chosen(e.unroll, problem, data, e.outer, e.init.networks))

    return chosen


@pytest.mark.slow
def test_a_long_run_is_compiled_where_there_is_a_compiler(choose: Callable[..., str]) -> None:
    assert choose("outer.steps=5") == "unroll=traced"
    assert choose("outer.steps=100_000") == "unroll=traced unroll.compile=true"
    assert choose("outer.steps=100_000", compiler=False) == "unroll=traced"


def test_without_kernels_nothing_is_faster_than_the_reference(choose: Callable[..., str]) -> None:
    assert choose("outer.steps=100_000", kernels=False, compiler=False) == "unroll=full"


def test_what_does_not_fit_is_computed_again(choose: Callable[..., str]) -> None:
    """The memory of the steps' graphs does not fit, and that of their weights does."""
    options = ("distilled.steps=50", "distilled.epochs=2")
    assert choose(*options, free=40_000_000) == "unroll=recompute"


def test_a_network_that_cannot_be_traced_runs_by_the_reference(
    choose: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    class Choosing(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y if y.sum() > 0 else 2 * y

    with caplog.at_level(logging.INFO):
        assert choose(network=Choosing(nn.Flatten(), nn.Linear(28 * 28, 10))) == "unroll=full"
    assert "unroll=auto: unroll=full, since " in caplog.text
    assert "trace" in caplog.text


def test_another_engine_stays(experiment: Make, caplog: pytest.LogCaptureFixture) -> None:
    """And `full`, the default, says on a CPU what auto may gain."""
    e = experiment("unroll=full")
    problem = prepare(e)
    data = start(e.distilled, problem.data.train, e.seed)
    with caplog.at_level(logging.INFO):
        assert choice.chosen(e.unroll, problem, data, e.outer, 1) is e.unroll
        assert caplog.text == ""
        choice.advise(e.unroll, data)
    assert "unroll=auto may be faster" in caplog.text


def test_a_run_keeps_its_choice(experiment: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "available", lambda: True)
    e = experiment("unroll=auto")
    distill(e, run)
    record = read(RunRecord, run.folder / "run.json")
    assert record is not None
    assert record.engine == Engine(choice="traced", compile=False)
    monkeypatch.setattr(choice, "_choice", lambda *_: pytest.fail("chosen again"))
    distill(e, run)


@pytest.mark.parametrize("engine", ["full", "recompute", "traced"])
def test_a_record_gives_the_engine_back(engine: str, experiment: Make) -> None:
    unroll: Unroll = experiment(f"unroll={engine}").unroll
    record = choice.recorded(unroll)
    assert choice.as_recorded(record, Auto()) == unroll


def test_a_run_that_began_compiled_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_compiler", lambda: False)
    with pytest.raises(ConfigError, match=r"^unroll=auto: this run began with unroll=traced unroll.compile"):
        choice.as_recorded(Engine(choice="traced", compile=True), Auto())


def test_auto_is_not_compiled_by_hand(experiment: Make) -> None:
    with pytest.raises(ConfigError, match=r"unroll.compile=True: must be false with unroll=auto"):
        experiment("unroll=auto", "unroll.compile=true")
