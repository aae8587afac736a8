"""Pools of pretrained networks: what determines a member, and that none is lost, damaged or trained twice."""

from __future__ import annotations

import ast
import hashlib
import inspect
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from torch import nn
from torch.func import functional_call

from dataset_distillation.architectures import Weights
from dataset_distillation.datasets.digits import Digits
from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.init.pooled import Pooled
from dataset_distillation.inner.traced import TracedSteps
from dataset_distillation.pipeline.prepare import prepare, pretrain
from dataset_distillation.pools import pool as pool_of_networks
from dataset_distillation.pools import pretraining
from dataset_distillation.pools.options import Pretraining
from dataset_distillation.pools.pool import Pool
from dataset_distillation.pools.pretraining import Member
from dataset_distillation.problem import Problem
from dataset_distillation.run import progress
from support.waiting import DEADLINE

Make = Callable[..., Experiment]
SMALL = [
    "init=pretrained",
    "init.pool_size=3",
    "architecture=mlp",
    "architecture.width=16",
    "dataset.image_size=8",
    "init.pretraining.workers=1",
    "init.pretraining.batch_size=32",
]


@pytest.fixture
def problem(experiment: Make, tmp_path: Path) -> Problem:
    return prepare(experiment(*SMALL, f"init.pretraining.folder={tmp_path}"))


@pytest.fixture
def pool(problem: Problem) -> Pool:
    return pool_of(problem)


def pool_of(problem: Problem) -> Pool:
    assert isinstance(problem.init, Pooled)
    return problem.init.pool(problem.origin)


def bits(pool: Pool) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pool.folder.glob("*.safetensors")}


def drawn(pool: Pool, recipe: Pretraining, names: list[str]) -> Weights:
    """θ0 of members that are trained by `recipe`."""
    return pretraining.start_of(pool.architecture, pool.network, pool.data.specification, recipe, names)


def trained(
    pool: Pool, recipe: Pretraining, names: list[str], programs: TracedSteps | None = None
) -> Weights:
    return pretraining.trained(pool.network, drawn(pool, recipe, names), pool.data, recipe, names, programs)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_member_is_trained_as_torch_trains(pool: Pool, optimizer: str) -> None:
    """The same batches through an ordinary module and its optimiser; and two members as one program."""
    network, data = pool.network, pool.data
    recipe = replace(pool.pretraining, epochs=2, optimizer=optimizer)
    both = trained(pool, recipe, ["init 0", "init 1"])
    for j, member in enumerate(["init 0", "init 1"]):
        with torch.no_grad():
            for name, tensor in drawn(pool, recipe, [member]).items():
                network.get_parameter(name).copy_(tensor[0])
        kind: Any = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
        options = {} if optimizer == "adam" else {"momentum": 0.9, "nesterov": True}
        plain = kind(network.parameters(), lr=0.005, **options)
        batches = pretraining._batches(data, recipe, member)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            plain, 0.005, total_steps=len(batches), pct_start=0.2, cycle_momentum=False
        )
        for indices in batches:
            images, labels = data.train.batch(indices)
            plain.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            plain.step()
            schedule.step()
        alone = trained(pool, recipe, [member])
        traced = trained(pool, recipe, [member], TracedSteps())
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(alone[name][0], parameter.detach(), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(traced[name][0], parameter.detach(), rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(both[name][j], parameter.detach(), rtol=1e-3, atol=1e-4)


def test_each_epoch_of_a_member_is_an_order_of_its_own() -> None:
    """Of whole batches; what is left of an epoch is not trained on."""
    data, recipe = Digits(image_size=8).load(0), Pretraining(epochs=3, batch_size=32)
    first, other = (pretraining._batches(data, recipe, name) for name in ("init 0", "init 1"))
    whole = len(data.train) // 32
    assert len(data.train) % 32
    assert [len(batch) for batch in first] == [32] * 3 * whole
    begins = (0, whole, 2 * whole)
    epochs = [torch.cat(batches[at : at + whole]) for batches in (first, other) for at in begins]
    for order in epochs:
        assert len(order.unique()) == 32 * whole
        assert order.max() < len(data.train)
    assert len({order.numpy().tobytes() for order in epochs}) == 6


@pytest.mark.parametrize("programs", [None, TracedSteps()])
def test_what_the_author_froze_stays_as_it_is_drawn(pool: Pool, programs: TracedSteps | None) -> None:
    pool.network.get_parameter("1.weight").requires_grad_(False)
    before = drawn(pool, pool.pretraining, ["init 0"])
    after = trained(pool, pool.pretraining, ["init 0"], programs)
    assert {name for name in after if torch.equal(before[name], after[name])} == {"1.weight"}


@pytest.mark.parametrize("steps", range(1, 12))
def test_the_rates_of_any_number_of_steps(steps: int) -> None:
    rates = pretraining._one_cycle(Pretraining(learning_rate=0.3), steps)
    assert len(rates) == steps
    peak = max(range(steps), key=rates.__getitem__)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak <= max(1, steps / 5)
    assert 0 < rates[-1] < max(rates) <= 0.3 or rates == [0.3]


def test_a_killed_pool_goes_on_where_it_stopped(pool: Pool) -> None:
    pool.members(["init 0", "init 1", "held-out 0"])
    whole = bits(pool)
    (pool.folder / "init-1.safetensors").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in pool.folder.glob("*.safetensors")}
    pool.members(["init 0", "init 1", "held-out 0"])
    assert bits(pool) == whole
    assert all((pool.folder / name).stat().st_mtime_ns == then for name, then in times.items())


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-40], lambda c: c[:-40] + bytes(40), lambda c: b""]
)
def test_a_damaged_member_is_trained_again(
    pool: Pool, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    pool.members(["init 0"])
    path = pool.folder / "init-0.safetensors"
    sound = path.read_bytes()
    path.write_bytes(damage(sound))
    pool.members(["init 0"])
    assert path.read_bytes() == sound
    assert "is damaged" in caplog.text


def test_a_member_of_another_shape_or_accuracy_is_trained_again(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    [member] = pool.members(["init 0"])
    path = pool.folder / "init-0.safetensors"
    sound = path.read_bytes()
    flat = {name: weight.flatten() for name, weight in member.weights.items()}
    for other in (Member(flat, 0.5), Member(member.weights, 1e31), Member(member.weights, float("nan"))):
        pool.save("init 0", other)
        pool.members(["init 0"])
        assert path.read_bytes() == sound
    assert caplog.text.count("is damaged") == 6  # each is looked at once more where nobody else trains


def test_the_key_is_made_of_what_determines_the_weights(experiment: Make, tmp_path: Path) -> None:
    def key(*overrides: str) -> str:
        return pool_of(prepare(experiment(*SMALL, *overrides))).folder.name

    one = key()
    same = ["init.pool_size=7", "init.held_out=9", "seed=3", "init.networks=2", "init.pretraining.workers=2"]
    assert {key(override) for override in [*same, f"init.pretraining.folder={tmp_path}"]} == {one}
    differ = [
        "init.pretraining.seed=1",
        "init.pretraining.epochs=2",
        "init.pretraining.learning_rate=0.1",
        "init.pretraining.compile=true",
        "architecture.width=8",
        "architecture.weights=kaiming",
        "dataset.validation=0.2",
        "dataset.mean=[0.5]",
    ]
    others = {
        key(*([override, "dataset.std=[1]"] if "mean" in override else [override])) for override in differ
    }
    assert len({one, *others}) == 9


def test_compiled_programs_are_for_a_cpu_and_for_networks_that_can_be_traced(pool: Pool) -> None:
    recipe = replace(pool.pretraining, compile=True)
    with pytest.raises(ConfigError, match=r"^init\.pretraining\.compile=True: is for a CPU"):
        pretraining.check(pool.data, recipe, torch.device("cuda"))
    programs = pretraining._programs("a pool")
    assert programs.compiled
    assert programs is pretraining._programs("a pool")  # compiled once

    class Choosing(nn.Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else 2 * x

    pool.network.append(Choosing())
    remedy = r"^init\.pretraining\.compile=True: torch cannot .*; use init\.pretraining\.compile=false$"
    with pytest.raises(ConfigError, match=remedy):
        trained(pool, recipe, ["init 0"], programs)


@pytest.mark.slow
def test_a_compiled_pool_is_that_of_torch_optim_but_for_rounding(pool: Pool) -> None:
    """In a process of joblib, as `distill-pretrain` trains it."""
    compiled = replace(pool, pretraining=replace(pool.pretraining, compile=True))
    names = ["init 0", "held-out 0"]
    assert compiled.folder != pool.folder
    for ours, theirs in zip(compiled.members(names), pool.members(names), strict=True):
        assert ours.accuracy == pytest.approx(theirs.accuracy, abs=0.02)
        for name, weight in theirs.weights.items():
            torch.testing.assert_close(ours.weights[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_pool_is_trained_on_validation_images(seed: int, experiment: Make, tmp_path: Path) -> None:
    """One pool serves all seeds; in older runs it was split by its own seed, and the run by another."""

    def seen(*overrides: str) -> tuple[int, str]:
        asked = (*SMALL, f"init.pretraining.folder={tmp_path}", f"seed={seed}", *overrides)
        problem = prepare(experiment(*asked))
        pool = pool_of(problem)
        trained = {image.numpy().tobytes() for image in pool.data.train.pixels(slice(None))}
        validation = problem.data.validation.pixels(slice(None))
        return sum(image.numpy().tobytes() in trained for image in validation), pool.folder.name

    number, key = seen()
    assert number == 0
    leaked, older = seen("dataset.split_seed=null")
    assert older == key  # its weights are the same
    assert (leaked > 100) == (seed != 0)
    assert seen("dataset.split_seed=7")[0] == 0
    assert seen("dataset.split_seed=7")[1] != key


NETWORKS = """from torch import nn
import blocks_of_mine
class Net(nn.Sequential):
    '''Of one layer.'''
    def __init__(self):
        super().__init__(nn.Flatten(), blocks_of_mine.Head(64, 10))
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
BLOCKS = '''"""What networks end with."""
from torch import nn
class Head(nn.Linear):
    def extra_repr(self):
        """As torch has it."""
        return super().extra_repr()
'''


@pytest.mark.parametrize(
    ("made", "changed"),
    [("Net", "networks_of_mine"), ("Net", "blocks_of_mine"), ("make", "networks_of_mine")],
)
def test_the_key_is_made_of_the_code_of_all_parts(
    made: str, changed: str, experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, file = pool_of_mine(made, experiment, tmp_path, monkeypatch), tmp_path / f"{changed}.py"
    key = pool.folder
    assert replace(pool).folder == key
    file.write_text(file.read_text() + "changed = True\n")
    assert replace(pool).folder != key


def pool_of_mine(made: str, experiment: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """Of a network that `networks_of_mine` in `folder` makes."""
    monkeypatch.syspath_prepend(folder)
    for name, code in {"networks_of_mine": NETWORKS, "blocks_of_mine": BLOCKS}.items():
        (folder / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    imported = ["architecture=imported", f"architecture.path=networks_of_mine:{made}"]
    options = [option for option in SMALL if "architecture" not in option]
    return pool_of(prepare(experiment(*options, *imported)))


@pytest.mark.parametrize(
    ("file", "old", "new", "the_same"),
    [
        ("networks_of_mine", "import blocks_of_mine", "import blocks_of_mine  # mine, too", True),
        ("networks_of_mine", "'''Of one layer.'''", "'''Of a single\n    layer.'''", True),
        ("networks_of_mine", "    '''Of one layer.'''\n", "", True),
        ("blocks_of_mine", "What networks end with", "The last layers", True),
        ("blocks_of_mine", "As torch has it", "As before", True),
        ("blocks_of_mine", "class Head(nn.Linear):\n", "class Head(nn.Linear):\n\n    # a comment\n", True),
        ("networks_of_mine", "Head(64, 10)", "Head(64, 10, True)", False),
        ("networks_of_mine", "nn.Flatten(), nn", "nn.Flatten(1), nn", False),
        ("blocks_of_mine", "return super().extra_repr()", "return super().extra_repr() + ''", False),
        ("blocks_of_mine", "def extra_repr", "text = 'no docstring'\n    def extra_repr", False),
    ],
)  # fmt: skip
def test_the_key_is_that_of_the_statements(
    file: str,
    old: str,
    new: str,
    the_same: bool,
    experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A comment or a docstring may be worded anew; a statement may not change."""
    pool, path = pool_of_mine("Net", experiment, tmp_path, monkeypatch), tmp_path / f"{file}.py"
    key, code = pool.folder, path.read_text()
    assert code.count(old) == 1
    path.write_text(code.replace(old, new))
    assert (replace(pool).folder == key) is the_same


def test_the_key_of_our_own_networks_is_that_of_torch_s_code(experiment: Make) -> None:
    """They have no class of their own: our files may change without a change of the key."""
    pool = pool_of(prepare(experiment("init=pretrained", "architecture=lenet")))
    tree = ast.parse(inspect.getsource(nn.modules.container))
    documented = [
        node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module)
    ]
    for node in documented:
        match node.body[0]:
            case ast.Expr(ast.Constant(str())):
                del node.body[0]
    assert pool.made_of["code"] == hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def test_of_two_jobs_one_trains_and_the_other_waits(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    train, waits = Pool._train, threading.Event()

    def until_the_other_waits(self: Pool, members: list[str]) -> None:
        asked.append(members)
        assert waits.wait(DEADLINE)
        train(self, members)

    def told(message: str, *_: Any) -> None:
        if "another job trains the pool" in message:
            waits.set()

    monkeypatch.setattr(Pool, "_train", until_the_other_waits)
    monkeypatch.setattr(pool_of_networks.log, "info", told)
    pool.folder  # noqa: B018  the data are read once
    jobs = [threading.Thread(target=replace(pool).members, args=(["init 0"],)) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(DEADLINE)
    assert waits.is_set()
    assert asked == [["init 0"]]


def test_evaluation_sees_no_network_of_the_pool(problem: Problem) -> None:
    def seen(purpose: str, number: int, step: int = 0) -> set[bytes]:
        weights = problem.population(purpose, number, step)
        return {w["1.weight"].numpy().tobytes() for w in weights}

    pool = seen("init", 3)
    assert len(pool) == 3
    assert set.union(*(seen("init", 2, step) for step in range(9))) == pool
    assert all(len(seen("init", 2, step)) == 2 for step in range(9))
    assert len(pool | seen("held-out", 2) | seen("validation", 1)) == 6
    with pytest.raises(ConfigError, match=r"init\.held_out=2: evaluation needs 3 networks"):
        seen("held-out", 3)


def test_processes_train_the_same_bits(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # theirs, as ours
    pool.members(["init 0", "init 1"])
    recipe = replace(pool.pretraining, workers=2, folder=str(tmp_path / "other"))
    other = replace(pool, pretraining=recipe)
    other.members(["init 0", "init 1"])
    assert other.folder != pool.folder
    assert bits(other) == bits(pool)


@pytest.mark.slow
def test_a_job_of_joblib_trains_the_same_bits(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under hydra/launcher=joblib, where a Parallel without a backend would share a network by threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # theirs, as ours
    names, recipe = [f"init {j}" for j in range(4)], replace(pool.pretraining, epochs=4)
    alone = replace(pool, pretraining=recipe)
    alone.members(names)
    recipes = [replace(recipe, workers=2, folder=str(tmp_path / sweep)) for sweep in "ab"]
    pools = [replace(pool, pretraining=recipe) for recipe in recipes]
    joblib.Parallel(2)(joblib.delayed(each.members)(names) for each in pools)
    assert len(bits(alone)) == 4
    assert all(bits(each) == bits(alone) for each in pools)


def test_the_progress_is_told_where_no_table_is(
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "LINE_AFTER", 0.0)
    replace(pool).members(["init 0", "init 1"])
    assert any(message.startswith("pretraining networks: 1 of 2, ") for message in caplog.messages)
    assert capsys.readouterr().out == ""


def test_a_run_reports_how_good_its_pool_is(experiment: Make, tmp_path: Path) -> None:
    e = experiment(*SMALL, f"init.pretraining.folder={tmp_path}")
    problem = prepare(e)
    report = pretrain(problem, e)
    assert report is not None
    members = problem.init.members(1)
    assert members == [*(f"init {j}" for j in range(3)), "validation 0", "held-out 0", "held-out 1"]
    images, labels = problem.data.test.batch()
    hits = []
    for member in pool_of(problem).members(members):
        outputs = functional_call(problem.network, member.weights, (images,))
        hits.append((outputs.argmax(1) == labels).double().mean())
    assert report.networks == 6
    assert report.accuracy_mean == pytest.approx(torch.stack(hits).mean().item(), abs=1e-6)
    assert report.accuracy_std == pytest.approx(torch.stack(hits).std().item(), abs=1e-6)


def test_a_source_of_other_images_or_classes_is_refused(experiment: Make) -> None:
    with pytest.raises(ConfigError, match=r"init\.source\.channels=3: dataset\.channels is 1"):
        experiment("init=pretrained", "dataset@init.source=svhn")
    with pytest.raises(ConfigError, match=r"init\.networks=4: an outer step cannot train more"):
        experiment("init=pretrained", "init.networks=4", "init.pool_size=3")


def test_one_pretrained_network_for_all_purposes(experiment: Make, tmp_path: Path) -> None:
    overrides = [o for o in SMALL if "pool_size" not in o] + [f"init.pretraining.folder={tmp_path}"]
    e = experiment(*overrides, "init=fixed_pretrained")
    problem = prepare(e)
    [once] = problem.population("init", 1, 5)
    [again] = problem.population("held-out", 7)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert e.init.members(8) == ["fixed"]
    assert len(list(pool_of(problem).folder.glob("*.safetensors"))) == 1
