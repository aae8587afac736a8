"""Pools of pretrained networks: what determines a member, and that none is lost, damaged or trained twice."""

from __future__ import annotations

import hashlib
import inspect
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from torch import nn
from torch.func import functional_call

from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.networks import pretraining
from dataset_distillation.networks.pool import Pool
from dataset_distillation.pipeline.prepare import prepare, pretrain
from dataset_distillation.problem import Problem

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


def bits(pool: Pool) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pool.folder.glob("*.safetensors")}


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_member_is_trained_as_torch_trains(problem: Problem, optimizer: str) -> None:
    """The same batches through an ordinary module and its optimiser; and two members as one program."""
    ours = replace(problem.pool, pretraining=replace(problem.pool.pretraining, epochs=2, optimizer=optimizer))
    both = pretraining._trained(ours, ["init 0", "init 1"])
    for j, member in enumerate(["init 0", "init 1"]):
        network = ours.network
        with torch.no_grad():
            for name, tensor in pretraining._start(ours, [member]).items():
                network.get_parameter(name).copy_(tensor[0])
        kind: Any = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
        options = {} if optimizer == "adam" else {"momentum": 0.9, "nesterov": True}
        plain = kind(network.parameters(), lr=0.005, **options)
        batches = pretraining._batches(ours, member)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            plain, 0.005, total_steps=len(batches), pct_start=0.2, cycle_momentum=False
        )
        for indices in batches:
            images, labels = ours.data.train.batch(indices)
            plain.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            plain.step()
            schedule.step()
        alone = pretraining._trained(ours, [member])
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(alone[name][0], parameter.detach(), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(both[name][j], parameter.detach(), rtol=1e-3, atol=1e-4)


def test_what_the_author_froze_stays_as_it_is_drawn(problem: Problem) -> None:
    problem.pool.network.get_parameter("1.weight").requires_grad_(False)
    before = pretraining._start(problem.pool, ["init 0"])
    after = pretraining._trained(problem.pool, ["init 0"])
    assert {name for name in after if torch.equal(before[name], after[name])} == {"1.weight"}


@pytest.mark.parametrize("steps", range(1, 12))
def test_the_rates_of_any_number_of_steps(steps: int) -> None:
    optimizer, rates = torch.optim.SGD([torch.zeros(1, requires_grad=True)]), []
    schedule = pretraining._one_cycle(optimizer, 0.3, steps)
    for _ in range(steps):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    peak = max(range(steps), key=rates.__getitem__)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak <= max(1, steps / 5)
    assert 0 < rates[-1] < max(rates) <= 0.3 or steps == 1


def test_a_killed_pool_goes_on_where_it_stopped(problem: Problem) -> None:
    problem.pool.members(["init 0", "init 1", "held-out 0"])
    whole = bits(problem.pool)
    (problem.pool.folder / "init-1.safetensors").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in problem.pool.folder.glob("*.safetensors")}
    problem.pool.members(["init 0", "init 1", "held-out 0"])
    assert bits(problem.pool) == whole
    assert all((problem.pool.folder / name).stat().st_mtime_ns == then for name, then in times.items())


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-40], lambda c: c[:-40] + bytes(40), lambda c: b""]
)
def test_a_damaged_member_is_trained_again(
    problem: Problem, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    problem.pool.members(["init 0"])
    path = problem.pool.folder / "init-0.safetensors"
    sound = path.read_bytes()
    path.write_bytes(damage(sound))
    problem.pool.members(["init 0"])
    assert path.read_bytes() == sound
    assert "is damaged" in caplog.text


def test_the_key_is_made_of_what_determines_the_weights(experiment: Make, tmp_path: Path) -> None:
    def key(*overrides: str) -> str:
        return prepare(experiment(*SMALL, *overrides)).pool.folder.name

    one = key()
    same = ["init.pool_size=7", "init.held_out=9", "seed=3", "init.networks=2", "init.pretraining.workers=2"]
    assert {key(override) for override in [*same, f"init.pretraining.folder={tmp_path}"]} == {one}
    differ = [
        "init.pretraining.seed=1",
        "init.pretraining.epochs=2",
        "init.pretraining.learning_rate=0.1",
        "architecture.width=8",
        "architecture.weights=kaiming",
        "dataset.validation=0.2",
        "dataset.mean=[0.5]",
    ]
    assert (
        len(
            {
                key(*([override, "dataset.std=[1]"] if "mean" in override else [override]))
                for override in differ
            }
        )
        == 7
    )
    assert one not in {key(override) for override in differ if "mean" not in override}


NETWORKS = """from torch import nn
import blocks_of_mine
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), blocks_of_mine.Head(64, 10))
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
BLOCKS = "from torch import nn\nclass Head(nn.Linear):\n    pass\n"


@pytest.mark.parametrize(
    ("made", "changed"),
    [("Net", "networks_of_mine"), ("Net", "blocks_of_mine"), ("make", "networks_of_mine")],
)
def test_the_key_is_made_of_the_code_of_all_parts(
    made: str, changed: str, experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, code in {"networks_of_mine": NETWORKS, "blocks_of_mine": BLOCKS}.items():
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    imported = ["architecture=imported", f"architecture.path=networks_of_mine:{made}"]
    options = [option for option in SMALL if "architecture" not in option]
    pool = prepare(experiment(*options, *imported)).pool
    key = pool.folder
    assert replace(pool).folder == key
    (tmp_path / f"{changed}.py").write_text((tmp_path / f"{changed}.py").read_text() + "# changed\n")
    assert replace(pool).folder != key


def test_the_key_of_our_own_networks_is_what_it_was(experiment: Make) -> None:
    """They have no class of their own: pools on people's disks stay valid."""
    pool = prepare(experiment("init=pretrained", "architecture=lenet")).pool
    source = inspect.getsource(nn.modules.container)
    assert pool.made_of["code"] == hashlib.sha256(source.encode()).hexdigest()


def test_of_two_jobs_one_trains_and_the_other_waits(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[str]] = []
    train = Pool._train

    def slowly(self: Pool, members: list[str]) -> None:
        trained.append(members)
        time.sleep(0.3)
        train(self, members)

    monkeypatch.setattr(Pool, "_train", slowly)
    problem.pool.folder  # noqa: B018  the data are read once
    jobs = [threading.Thread(target=replace(problem.pool).members, args=(["init 0"],)) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert trained == [["init 0"]]


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


def test_processes_train_the_same_bits(problem: Problem, tmp_path: Path) -> None:
    problem.pool.members(["init 0", "init 1"])
    recipe = replace(problem.pool.pretraining, workers=2, folder=str(tmp_path / "other"))
    other = replace(problem.pool, pretraining=recipe)
    other.members(["init 0", "init 1"])
    assert other.folder != problem.pool.folder
    assert bits(other) == bits(problem.pool)


def test_a_job_of_joblib_trains_the_same_bits(problem: Problem, tmp_path: Path) -> None:
    """As under hydra/launcher=joblib, where a Parallel without a backend would share a network by threads."""
    names, recipe = [f"init {j}" for j in range(4)], replace(problem.pool.pretraining, epochs=4)
    alone = replace(problem.pool, pretraining=recipe)
    alone.members(names)
    recipes = [replace(recipe, workers=2, folder=str(tmp_path / sweep)) for sweep in "ab"]
    pools = [replace(problem.pool, pretraining=recipe) for recipe in recipes]
    joblib.Parallel(2)(joblib.delayed(pool.members)(names) for pool in pools)
    assert len(bits(alone)) == 4
    assert all(bits(pool) == bits(alone) for pool in pools)


@pytest.mark.parametrize("bar", [True, False])
def test_the_bar_is_drawn_where_no_table_is(
    bar: bool, problem: Problem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    replace(problem.pool, progress_bar=bar).members(["init 0"])
    out, err = capsys.readouterr()
    assert out == ""
    assert ("pretraining" in err) is bar


def test_a_run_reports_how_good_its_pool_is(problem: Problem) -> None:
    report = pretrain(problem)
    assert report is not None
    members = problem.experiment.init.members(1)
    assert members == [*(f"init {j}" for j in range(3)), "validation 0", "held-out 0", "held-out 1"]
    images, labels = problem.data.test.batch()
    hits = []
    for member in problem.pool.members(members):
        outputs = functional_call(problem.network, member.weights, (images,))
        hits.append((outputs.argmax(1) == labels).double().mean())
    assert report["networks"] == 6
    assert report["accuracy_mean"] == pytest.approx(torch.stack(hits).mean().item(), abs=1e-6)
    assert report["accuracy_std"] == pytest.approx(torch.stack(hits).std(correction=0).item(), abs=1e-6)


def test_a_source_of_other_images_or_classes_is_refused(experiment: Make, tmp_path: Path) -> None:
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
    assert len(list(problem.pool.folder.glob("*.safetensors"))) == 1
