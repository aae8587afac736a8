"""Section 3.3: what M distilled pairs can do in one step for a least-squares problem of dimension D."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas
import pytest
import torch
from torch import Tensor, nn

import dataset_distillation as dd
from dataset_distillation import load_distilled
from dataset_distillation.datasets.linear_regression import LinearRegression
from dataset_distillation.errors import ConfigError
from dataset_distillation.evaluation import closed_form
from dataset_distillation.evaluation.baselines import BASELINES, BaselineContext
from dataset_distillation.evaluation.real_sets import Size
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.inner_optimizers import InnerOptimizer, Step
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.objectives.regression import half_squared_error
from dataset_distillation.problem import Problem
from dataset_distillation.unroll.full import Full
from support.command_line import Ended, distill, distill_evaluate
from support.folders import result_of

N, D = 30, 5


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bound(d: Tensor, number: int, variance: float) -> float:
    """The least expected excess loss of `number` pairs for d (rows, D), θ0 having covariance variance·I."""
    eigenvalues = torch.linalg.eigvalsh(d.double().T @ d.double() / len(d))  # ascending
    return variance / 2 * float(eigenvalues[: max(0, d.shape[1] - number)].sum())


class Case(NamedTuple):
    """Rows whose columns differ in length, targets with noise, and their optimum."""

    d: Tensor
    t: Tensor
    optimum: Tensor

    def after(self, start: Tensor, pairs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """θ1 (D, 1) after one step of the engine from θ0 = `start` (D, 1), without its graph."""
        network = nn.Linear(D, 1, bias=False).double()
        weights = {"weight": start.T.clone().requires_grad_()}
        training = InnerTraining(network, weights, SGD(), half_squared_error)
        return Full().unroll(training, [Step(*pairs)])["weight"].T.detach()

    def excess(self, theta: Tensor) -> float:
        losses = [half_squared_error(self.d @ weights, self.t) for weights in (theta, self.optimum)]
        return float(losses[0] - losses[1])

    def expected_excess(self, pairs: tuple[Tensor, Tensor, Tensor], variance: float) -> float:
        """Over θ0 of mean 0 and covariance `variance` · I; exact, as ±σ√D·e_i have these moments too."""
        starts = (variance * D) ** 0.5 * torch.cat([torch.eye(D), -torch.eye(D)]).double()
        return sum(self.excess(self.after(start[:, None], pairs)) for start in starts) / len(starts)


@pytest.fixture(scope="module")
def case() -> Case:
    d = normal(N, D) * torch.tensor([2.0, 0.5, 1.0, 1.5, 0.7])
    t = d @ normal(D, 1, seed=1) + 0.3 * normal(N, 1, seed=2)
    return Case(d, t, torch.linalg.solve(d.T @ d, d.T @ t))  # the normal equations, Section 3.3


def footnote(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """d̃ = N·I, t̃ = N·θ*, and the learning rate that Eq 8 asks for, D/N²."""
    return N * torch.eye(D).double(), N * case.optimum, torch.tensor(D / N**2, dtype=torch.float64)


@pytest.mark.parametrize("pairs", ["footnote", "ours", "more"])
def test_with_as_many_pairs_as_dimensions_every_start_ends_in_the_optimum(case: Case, pairs: str) -> None:
    ours = closed_form.pairs(*case[:2], D + 3 if pairs == "more" else D)
    chosen = footnote(case) if pairs == "footnote" else ours
    for seed in range(100):
        start = 10 * normal(D, 1, seed=seed)
        torch.testing.assert_close(case.after(start, chosen), case.optimum, rtol=0, atol=1e-10)


@pytest.mark.parametrize("number", range(1, D))
def test_with_fewer_there_is_a_start_that_the_step_fails_from(case: Case, number: int) -> None:
    """Whatever the pairs: along a direction that d̃ does not see, the step moves nothing."""
    drawn = normal(number, D, seed=3), normal(number, 1, seed=4), torch.tensor(0.1, dtype=torch.float64)
    for pairs in (drawn, closed_form.pairs(*case[:2], number)):
        unseen = torch.linalg.svd(pairs[0]).Vh[-1:].T
        torch.testing.assert_close(pairs[0] @ unseen, torch.zeros(number, 1).double(), rtol=0, atol=1e-10)
        end = case.after(case.optimum + 3 * unseen, pairs)
        assert float(unseen.T @ (end - case.optimum)) == pytest.approx(3)
        assert case.excess(end) > 0.1


def aligned(case: Case) -> Case:
    """The same rows, with the leading eigenvector for the optimum, as dataset=linear_regression has it."""
    optimum = torch.linalg.eigh(case.d.T @ case.d).eigenvectors[:, -1:]
    return Case(case.d, case.d @ optimum, optimum)


@pytest.mark.parametrize("number", range(1, D + 2))
def test_the_closed_form_reaches_the_bound(case: Case, number: int) -> None:
    simple = aligned(case)
    pairs = closed_form.pairs(simple.d, simple.t, number)
    least = bound(case.d, number, variance=0.4)
    assert simple.expected_excess(pairs, 0.4) == pytest.approx(least, rel=1e-9, abs=1e-12)
    assert (least > 0) == (number < D)
    # In general: Σ_{i>M} λi (σ² + (uiᵀθ*)²) / 2.
    values, vectors = torch.linalg.eigh(case.d.T @ case.d / N)
    terms = (values * (0.4 + (vectors.T @ case.optimum).flatten() ** 2) / 2)[: max(0, D - number)]
    general = case.expected_excess(closed_form.pairs(*case[:2], number), 0.4)
    assert general == pytest.approx(float(terms.sum()), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("optimizer", [dd.Adam(), dd.Momentum(), dd.SGD(weight_decay=0.1)])
def test_the_closed_form_is_one_plain_step(optimizer: InnerOptimizer) -> None:
    """Of Eq 6, whatever optimizer the distilled data are for; with D pairs it ends at the optimum."""
    data = LinearRegression(channels=1, image_size=3, rows=60)
    problem = Problem.load(data, dd.Linear(bias=False), dd.Random(), dd.Regression(), optimizer, 0)
    context = BaselineContext(problem, dd.Evaluation(), problem.population("held-out", 2), Size(9, 1))
    assert BASELINES["closed_form"](context)["excess_loss"].max() < 1e-9


@pytest.mark.parametrize("number", [1, 3, 4])
def test_no_pairs_are_better_than_the_bound(case: Case, number: int) -> None:
    """A search from three starts ends at it where the optimum is aligned, and above it where it is not."""
    least = bound(case.d, number, variance=0.4)
    for problem, slack in ((aligned(case), 1e-3), (case, None)):
        found = [searched(problem, number, 0.4, seed) for seed in range(3)]
        assert min(found) > least * (1 - 1e-9)
        assert slack is None or min(found) < least * (1 + slack)


def searched(case: Case, number: int, variance: float, seed: int) -> float:
    """The least expected excess loss that L-BFGS finds over d̃ and t̃; η̃ only scales them."""
    d̃ = normal(number, D, seed=seed + 10).requires_grad_()
    t̃ = normal(number, 1, seed=seed + 20).requires_grad_()
    h = case.d.T @ case.d / N

    def expected() -> Tensor:
        left = torch.eye(D).double() - d̃.T @ d̃  # η̃/M = 1; the formula of closed_form.py, for μ = 0
        c = d̃.T @ t̃ - case.optimum
        return (variance * torch.trace(left @ h @ left) + (c.T @ h @ c).squeeze()) / 2

    search = torch.optim.LBFGS(
        [d̃, t̃], max_iter=2000, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        search.zero_grad()
        value = expected()
        value.backward()
        return value

    search.step(closure)
    pairs = d̃.detach(), t̃.detach(), torch.tensor(number, dtype=torch.float64)
    assert expected().item() == pytest.approx(case.expected_excess(pairs, variance), rel=1e-6)
    return expected().item()


def test_the_data_are_what_their_description_says() -> None:
    data = LinearRegression(channels=3, image_size=2, rows=40, noise=0.5).load(seed=3)
    (images, targets), (_, fit) = data.train.batch(), data.test.batch()
    d = images.flatten(1).double()
    assert d.shape == (40, 12)
    optimum = torch.linalg.lstsq(d, targets.double()).solution
    torch.testing.assert_close(d @ optimum, fit.double(), rtol=0, atol=1e-5)
    assert float(optimum.norm()) == pytest.approx(1, abs=1e-5)
    leading = torch.linalg.svd(d).Vh[0]
    assert abs(float(leading @ optimum)) == pytest.approx(1, abs=1e-5)
    assert 0.3 < float((targets - fit).std()) < 0.7
    theta = normal(12, 1, seed=5)  # on the test split the loss is that in excess of the optimum's
    excess = half_squared_error(d @ theta, targets) - half_squared_error(d @ optimum, targets)
    assert float(half_squared_error(d @ theta, fit)) == pytest.approx(float(excess), rel=1e-5)
    again, other = (LinearRegression(rows=9).load(seed) for seed in (0, 1))
    assert torch.equal(again.train.images, LinearRegression(rows=9).load(0).train.images)
    assert again.checksum != other.checksum


Refused = Callable[..., Experiment]
LINEAR = [
    "dataset=linear_regression", "architecture=linear", "architecture.bias=false", "objective=regression",
    "distilled.labels=learned", "distilled.steps=1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["dataset.rows=8"], "dataset.rows=8: must be 9 or more"),
        (["dataset.noise=-1"], "dataset.noise=-1.0: must be 0 or more"),
        (["dataset.mean=[0.5]", "dataset.std=[1.0]"], "dataset.mean="),
        (["distilled.labels=fixed"], "distilled.labels=fixed: dataset.name=linear_regression has numbers"),
        (["distilled.start=k_means"], "distilled.start=k_means: dataset.name=linear_regression has numbers"),
        (["objective=standard"], "objective=standard: predicts classes"),
        (["dataset=digits"], "objective=regression: predicts numbers"),
        (["init=pretrained"], "init.source=linear_regression: only classifiers"),
        (["evaluation.baselines=[random_real]"], "evaluation.baselines=random_real: predicts classes"),
        (["evaluation.baselines=[closed_form]", "architecture.bias=true"], "architecture.bias=True: must be"),
        (["evaluation.baselines=[closed_form]", "distilled.epochs=2"], "distilled.epochs=2: must be 1"),
        (
            ["evaluation.baselines=[closed_form]", "dataset=digits", "objective=standard"],
            "closed_form: is for",
        ),
        (["outer.learning_rate_of_labels=-1"], "outer.learning_rate_of_labels=-1.0: must be 0 or more"),
    ],
)
def test_what_does_not_fit_is_refused(experiment: Refused, overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        experiment(*LINEAR, *overrides)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


Sweep = tuple[Ended, Path]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The experiment as a user runs it, in three dimensions and shorter."""
    folder = tmp_path_factory.mktemp("linear")
    smaller = [
        "dataset.channels=3", "dataset.image_size=1", "distilled.images_per_class=2,3,5", "init.networks=4",
        "outer.steps=250", "outer.batch_size=60", "outer.learning_rate=0.05",
        "outer.learning_rate_of_rates=0.05", "outer.learning_rate_of_labels=0.05",
        "evaluation.networks=100", "trainer=cpu", "trainer.threads=1", "trainer.progress_bar=false",
        "logger=none",
    ]  # fmt: skip
    return distill(
        "experiment=linear_bound", *smaller, "hydra.sweep.dir=sweep", folder=folder
    ), folder / "sweep"


@pytest.mark.slow
def test_the_optimised_pairs_approach_the_closed_form(sweep: Sweep) -> None:
    ended, folder = sweep
    assert ended.code == 0, ended.err
    rows = pandas.read_csv(folder / "sweep.csv").set_index("distilled.images_per_class")
    assert rows.index.tolist() == [2, 3, 5]
    assert (rows["metric"] == "excess_loss").all()
    variance = 2 / (3 + 1)  # Xavier's
    d = LinearRegression(channels=3, image_size=1, rows=60).load(0).train.images.flatten(1)
    gap = bound(d, 2, variance)
    assert rows.loc[2, "closed form mean"] == pytest.approx(gap, rel=0.4)  # of 100 networks
    assert 0.9 < rows.loc[2, "mean"] / rows.loc[2, "closed form mean"] < 1.2
    for number in (3, 5):
        assert rows.loc[number, "closed form mean"] < 1e-12
        assert rows.loc[number, "mean"] < gap / 100
    shown = [line for line in ended.out.splitlines() if "closed form mean" in line or "│ finished │" in line]
    assert len(shown) == 4
    assert not [line for line in shown if "%" in line]


@pytest.mark.slow
def test_the_artifact_trains_a_network_on_its_learned_targets(sweep: Sweep) -> None:
    """With the loss that it names, from any start."""
    distilled = load_distilled(sweep[1] / "1" / "distilled.safetensors")
    assert distilled.labels.shape == (1, 3, 1)
    assert distilled.metadata["loss"] == "half_squared_error"
    data = LinearRegression(channels=3, image_size=1, rows=60).load(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False))
    images, targets = data.test.batch()
    nn.init.normal_(network[1].weight, generator=torch.Generator().manual_seed(0))
    before = half_squared_error(network(images), targets)
    after = half_squared_error(distilled.train(network)(images), targets)
    assert after < before / 100


@pytest.mark.slow
def test_it_is_judged_later_as_its_run_judged_it(sweep: Sweep, tmp_path: Path) -> None:
    artifact = sweep[1] / "1" / "distilled.safetensors"
    asked = [f"artifact={artifact}", "trainer=cpu", "trainer.threads=1", "logger=none"]
    ended = distill_evaluate(*asked, "hydra.run.dir=judged", folder=tmp_path)
    assert ended.code == 0, ended.err
    theirs = pandas.read_csv(sweep[1] / "1" / "evaluation.csv").query("method != 'closed_form'")
    ours = pandas.read_csv(tmp_path / "judged" / "evaluation.csv")
    pandas.testing.assert_frame_equal(ours.drop(columns="seconds"), theirs.drop(columns="seconds"))


@pytest.mark.slow
def test_the_checkpoint_has_the_least_excess_loss(sweep: Sweep) -> None:
    for job in "012":
        result = result_of(sweep[1] / job)
        assert result["metric"] == "excess_loss"
        assert result["validation_excess_loss"] < 0.3
        # The experiment is a multirun, but not the command that repeats a job of it.
        assert result["provenance"]["command"].endswith(f"{result['overrides'][-1]} hydra.mode=RUN")


@pytest.mark.slow
def test_numbers_have_no_confusion_matrix(sweep: Sweep) -> None:
    assert json.loads((sweep[1] / "0" / "confusion.json").read_text()) == {}


def test_the_closed_form_is_of_a_linear_network(experiment: Refused) -> None:
    asked = [each for each in LINEAR if not each.startswith("architecture")]
    with pytest.raises(ConfigError, match=r"^architecture=mlp: must be linear with evaluation\.baselines"):
        experiment(*asked, "architecture=mlp", "evaluation.baselines=[closed_form]")
