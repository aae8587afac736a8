"""The Python interface: against the command line's road bit by bit, and that it leaves nothing behind."""

from __future__ import annotations

import ast
import inspect
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import dataset_distillation as dd
from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.digits import Digits
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.pipeline import distill as pipeline
from dataset_distillation.run.provenance import Code
from dataset_distillation.run.run import Run

Make = Callable[..., Experiment]

QUIET = dd.Trainer(threads=1, progress_bar=False)
SHORT = {
    "outer": dd.Outer(steps=3, batch_size=16),
    "evaluation": dd.Evaluation(validation_networks=1, validation_images=32, validation_every=2),
    "trainer": QUIET,
}
POOL: dict[str, Any] = {"pool_size": 1, "held_out": 2}


def digits() -> tuple[Tensor, Tensor]:
    """As dataset=digits has them, before they are resized."""
    digits = load_digits()
    images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8)
    return images, torch.from_numpy(digits.target)


def network(classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes))


def bits(distilled: dd.DistilledSet) -> list[Tensor]:
    return [distilled.images, distilled.labels, distilled.learning_rates]


def same(one: dd.DistilledSet, other: dd.DistilledSet) -> bool:
    return all(torch.equal(mine, its) for mine, its in zip(bits(one), bits(other), strict=True))


@pytest.mark.parametrize(
    "training",
    [dd.Training(), pytest.param(dd.Training(epochs=30, learning_rate=0.3), marks=pytest.mark.slow)],
)
def test_it_gives_the_bits_and_the_table_of_the_command_line(
    training: dd.Training, experiment: Make, tmp_path: Path
) -> None:
    """The same tensors, network, options and seed by both roads; both trainings keep another checkpoint."""
    options = ["architecture=mlp", "dataset.image_size=8", "outer.steps=3", "evaluation.validation_every=2"]
    options += ["evaluation.validation_networks=8", "evaluation.validation_images=2000"]  # as `evaluate` has
    e = experiment(*options, "evaluation.baselines=[random_real]")
    e = replace(e, training=training)
    choices = dict.fromkeys(("dataset", "architecture", "init", "objective", "inner_optimizer"), "sgd")
    result = pipeline.distill(e, Run(tmp_path, {}, choices, [], code=Code()))

    problem = dd.Problem.of(*digits(), dd.MLP())
    options_here = {**SHORT, "evaluation": dd.Evaluation(validation_every=2)}
    distilled = dd.distill(problem, dd.Distilled(steps=2, epochs=1), training=training, **options_here)
    assert same(distilled, dd.load_distilled(tmp_path / "distilled.safetensors"))
    table = dd.evaluate(problem, distilled, 2, baselines=["random_real"], training=training)
    assert table["method"].tolist() == ["before_training", "distilled", "random_real"]
    for row in result.evaluation:
        ours = table[table["method"] == row.method].iloc[0]
        assert (ours["mean"], ours["std"], ours["runs"]) == (row.mean, row.std, row.runs)
        assert row.difference is None or (ours["low"], ours["high"]) == (row.low, row.high)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, log handler, level, thread count, random state, signal handler; the module is unchanged."""
    monkeypatch.chdir(tmp_path)
    own = network()
    weights = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    names = [None, "pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "dataset_distillation"]
    loggers = [logging.getLogger(name) for name in names]

    def state() -> list[Any]:
        listeners = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        return [[(log.level, log.handlers[:]) for log in loggers], torch.get_num_threads(), listeners]

    before, drawn = state(), torch.get_rng_state()
    problem = dd.Problem.of(*digits(), own)
    dd.evaluate(problem, dd.distill(problem, dd.Distilled(steps=1, epochs=1), **SHORT), networks=1)
    assert state() == before
    assert torch.equal(torch.get_rng_state(), drawn)
    assert list(tmp_path.iterdir()) == []
    assert all(torch.equal(tensor, weights[name]) for name, tensor in own.state_dict().items())


def test_the_seed_repeats_it() -> None:
    images, labels = digits()
    first, again, other = (
        dd.distill(dd.Problem.of(images, labels, network(), seed=seed), dd.Distilled(steps=1), **SHORT)
        for seed in (0, 0, 1)
    )
    assert same(first, again)
    assert not same(first, other)


def test_ctrl_c_returns_what_was_best_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    step = DistillationModule.training_step

    def interrupted(module: DistillationModule, *arguments: Any) -> Tensor:
        if module.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(module, *arguments)

    problem = dd.Problem.of(*digits(), network())
    options = {**SHORT, "outer": dd.Outer(steps=2, batch_size=16, schedule=SCHEDULE)}
    whole = dd.distill(problem, dd.Distilled(steps=1), **options)
    monkeypatch.setattr(DistillationModule, "training_step", interrupted)
    longer = {**options, "outer": dd.Outer(steps=9, batch_size=16, schedule=SCHEDULE)}
    with pytest.warns(UserWarning, match="interrupted after 3 of 9 outer steps"):
        stopped = dd.distill(problem, dd.Distilled(steps=1), **longer)
    assert same(stopped, whole)  # after two steps, which were validated last


def test_a_set_of_floats_is_tested_on_their_scale(tmp_path: Path) -> None:
    images, labels = digits()
    images = images / 10 - 3
    problem = dd.Problem.of(images, labels, network(), test=(images, labels))
    dd.distill(problem, dd.Distilled(steps=1), **SHORT).save(tmp_path / "floats.safetensors")
    read = dd.load_distilled(tmp_path / "floats.safetensors")
    torch.testing.assert_close(read.normalize(images), problem.data.test.batch().images)


def test_a_network_in_double_precision_computes_in_single() -> None:
    problem = dd.Problem.of(*digits(), network().double())
    distilled = dd.distill(problem, dd.Distilled(steps=1), **SHORT)
    assert same(distilled, dd.distill(dd.Problem.of(*digits(), network()), dd.Distilled(steps=1), **SHORT))


SCHEDULE = dd.Outer(schedule="constant").schedule  # type: ignore[arg-type]  # a name is taken too


@pytest.mark.parametrize("init", ["Random", "Fixed", "Pretrained", "FixedPretrained", "Checkpoint"])
def test_every_init(init: str, tmp_path: Path) -> None:
    own = network()
    torch.save(own.state_dict(), tmp_path / "own.pt")
    pool = dd.Pretraining(folder=str(tmp_path / "pools"), workers=1)
    kinds: dict[str, Any] = {
        "Random": dd.Random(networks=2),
        "Fixed": dd.Fixed(),
        "Pretrained": dd.Pretrained(pretraining=pool, **POOL),
        "FixedPretrained": dd.FixedPretrained(pretraining=pool),
        "Checkpoint": dd.Checkpoint(path=str(tmp_path / "own.pt")),
    }
    problem = dd.Problem.of(*digits(), own, init=kinds[init])
    distilled = dd.distill(problem, dd.Distilled(steps=1, epochs=1), **SHORT)
    table = dd.evaluate(problem, distilled, networks=2).set_index("method")
    assert table.loc["distilled", "networks"] == (1 if problem.init.known else 2)
    if init == "Checkpoint":
        assert torch.equal(problem.population("held-out", 1)[0]["1.weight"], own.get_parameter("1.weight"))
    if init in ("Pretrained", "FixedPretrained"):
        assert table.loc["before_training", "mean"] > 0.2  # an epoch of Adam


def test_the_same_images_are_no_source_of_an_adaptation() -> None:
    """Whatever their split, order, border or normalization; other images are."""
    images, labels = digits()

    def adaptation(source: Dataset) -> dd.Problem:
        init, network = dd.Pretrained(source=source, **POOL), dd.MLP()
        return dd.Problem.of(images, labels, network, init=init, objective=dd.Adaptation())

    for same in (
        dd.InMemory(images.flip(0), labels.flip(0), test=0.5, name="others"),
        dd.InMemory(images, labels, validation=0.5),
        Digits(image_size=8, border=2, mean=[0.5], std=[0.25]),
    ):
        with pytest.raises(dd.ConfigError, match=r"init\.source=in memory: is the dataset that is distilled"):
            adaptation(same)
    assert adaptation(dd.InMemory(255 - images, labels)).init.trained


def test_an_attack_and_an_adaptation(tmp_path: Path) -> None:
    images, labels = digits()
    pool = dd.Pretraining(folder=str(tmp_path / "pools"), workers=1)
    attack = dd.Attack(attacked_class="3", target_class="8")
    problem = dd.Problem.of(
        images, labels, network(), init=dd.Pretrained(pretraining=pool, **POOL), objective=attack
    )
    table = dd.evaluate(problem, dd.distill(problem, dd.Distilled(steps=1, epochs=1), **SHORT), networks=2)
    assert {"attacked_as_target mean", "attacked_accuracy mean", "others_accuracy std"} < set(table)
    with pytest.raises(dd.ConfigError, match=r"distilled.steps=10: an attack is one gradient step"):
        dd.distill(problem)

    source = dd.InMemory(255 - images, labels)
    init = dd.Pretrained(source=source, pretraining=pool, **POOL)
    adaptation = dd.Problem.of(images, labels, network(), init=init, objective=dd.Adaptation())
    distilled = dd.distill(adaptation, dd.Distilled(steps=1, epochs=1), **SHORT)
    assert distilled.metadata["objective"] == "adaptation"
    with pytest.raises(dd.ConfigError, match="is the dataset that is distilled"):
        dd.Problem.of(images, labels, network(), init=dd.Pretrained(), objective=dd.Adaptation())


def test_numbers_are_regressed() -> None:
    """The least-squares problem of Section 3.3 with own tensors: the excess over the optimum falls."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(80, 1, 3, 3, generator=generator)
    targets = rows.flatten(1).sum(dim=1, keepdim=True)
    problem = dd.Problem.of(rows, targets, dd.Linear(bias=False))
    options = {**SHORT, "outer": dd.Outer(steps=200, learning_rate=0.1, learning_rate_of_rates=0.1)}
    learned = dd.Distilled(images_per_class=9, steps=1, epochs=1, labels=LEARNED)
    table = dd.evaluate(problem, dd.distill(problem, learned, **options), networks=2).set_index("method")
    assert table.loc["distilled", "mean"] < 0.5 * table.loc["before_training", "mean"]


LEARNED = dd.Distilled(labels="learned").labels  # type: ignore[arg-type]


def test_a_torch_dataset_and_a_test_set_of_ones_own() -> None:
    images, labels = digits()
    train = TensorDataset(images[:900].float(), labels[:900])
    test = TensorDataset(images[900:].float(), labels[900:])
    problem = dd.Problem.of(*dd.tensors(train), network(), test=dd.tensors(test))
    assert (len(problem.data.train) + len(problem.data.validation), len(problem.data.test)) == (900, 897)
    pixels = images[:900].double()
    assert problem.data.specification.mean[0] == pytest.approx(pixels.mean().item())
    assert problem.data.specification.std[0] == pytest.approx(pixels.std(correction=0).item())
    batch = problem.data.train.batch().images
    assert batch.mean().abs() < 0.1


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (torch.zeros(40, 2, 3), torch.arange(40) % 2, {}, "images of 2×3 pixels: must be square"),
        (torch.zeros(4, 5), torch.zeros(4).long(), {}, r"shape \(4, 5\): must be uint8 or float"),
        (torch.zeros(4, 3, 3), torch.zeros(3).long(), {}, "4 images with 3 labels"),
        (torch.zeros(4, 3, 3), torch.zeros(4), {}, r"must be integers \(N,\), or floats \(N, 1\)"),
        (torch.full((4, 3, 3), torch.nan), torch.zeros(4).long(), {}, "a pixel is not a finite number"),
        (torch.rand(9, 8, 8), torch.arange(9) % 3, {"test": 2.0}, "test=2.0: must lie between 0 and 1"),
        (torch.rand(90, 8, 8), torch.arange(90) % 3, {"network": network(7)}, "logits of 2 images have"),
        (torch.rand(90, 9, 9), torch.arange(90) % 3, {}, "the network does not accept images of shape"),
        (torch.zeros(90, 8, 8), torch.arange(90) % 3, {}, "all pixels of a channel are equal"),
        (torch.rand(90, 8, 8), torch.arange(90) % 3 - 1, {}, "the lowest label is -1"),
        (torch.rand(90, 8, 8), torch.arange(90) % 3 * 10**12, {}, "the highest label is 2000000000000"),
        (torch.rand(90, 8, 8), torch.zeros(90).long(), {}, "only one class, '0'"),
        (torch.rand(0, 8, 8), torch.zeros(0).long(), {}, "no images"),
        (torch.rand(90, 8, 8), torch.arange(90) % 3, {"class_names": list("aba")}, "class_names=a: names"),
        (torch.rand(90, 8, 8), torch.arange(90) % 2 * 2, {}, "class '1' has fewer than 2 images"),
        (
            torch.rand(90, 8, 8),
            torch.arange(90) % 3,
            {"test": (torch.rand(9, 8, 8), torch.arange(9) % 2)},
            "class '2' has no test image",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(
    images: Tensor, labels: Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(dd.UserError, match=message) as error:
        dd.Problem.of(images, labels, options.pop("network", network(3)), **options)
    assert "\n" not in str(error.value)


def test_a_set_is_refused_where_it_does_not_belong() -> None:
    images, labels = digits()
    problem = dd.Problem.of(images, labels, network(), init=dd.Fixed())
    distilled = dd.distill(problem, dd.Distilled(steps=1, epochs=1), **SHORT)
    other = dd.Problem.of(images, labels, network(), init=dd.Fixed(), seed=1)
    with pytest.raises(dd.UserError, match="one known network, which is not the problem's"):
        dd.evaluate(other, distilled)
    with pytest.raises(dd.ConfigError, match="selection=tests: must be one of paper, validation"):
        dd.evaluate(problem, distilled, selection="tests")
    larger = dd.Problem.of(torch.rand(90, 9, 9), torch.arange(90) % 3, dd.Linear())
    with pytest.raises(dd.UserError, match=r"and those of the problem are \(1, 9, 9\)"):
        dd.evaluate(larger, distilled)
    of_three = dd.Problem.of(torch.rand(90, 8, 8), torch.arange(90) % 3, dd.Linear())
    with pytest.raises(dd.UserError, match=r"has 10 classes, and the problem has 3$"):
        dd.evaluate(of_three, distilled)
    with pytest.raises(dd.ConfigError, match=r"^networks=0: must be 1 or more"):
        dd.evaluate(problem, distilled, networks=0)


def test_a_whitened_set_is_judged_as_networks_see_the_problem() -> None:
    """On data that are not whitened, by its plain images."""
    problem = dd.Problem.of(*digits(), network())
    distilled = dd.distill(problem, dd.Distilled(steps=1, epochs=2), **SHORT)
    metadata = distilled.metadata | {
        "whitening": {"kind": "zca", "regularization": 0.1, "train_checksum": "0"}
    }
    whitened = replace(
        distilled, images=distilled.images * 9, plain_images=distilled.images, metadata=metadata
    )
    columns = ["method", "mean", "std"]
    found, expected = (dd.evaluate(problem, each, networks=3)[columns] for each in (whitened, distilled))
    pandas.testing.assert_frame_equal(found, expected)


def test_own_weights_are_drawn_by_the_layers() -> None:
    """`weights="own"`: by `reset_parameters`, from the seed alone."""
    images, labels = digits()
    problem = dd.Problem.of(images, labels, dd.Given(network(), weights="own"))
    first, again = (problem.population("held-out", 1)[0] for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["1.bias"].abs().sum() > 0  # Xavier's scheme would have zeros
    assert first["1.weight"].abs().max() <= 64**-0.5  # torch's bound for a linear layer


def test_the_stub_names_what_the_package_names() -> None:
    stub = ast.parse(Path(inspect.getfile(dd)).with_suffix(".pyi").read_text())
    imported = {
        name.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    [listed] = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]
    assert sorted(listed) == dd.__all__
    assert set(listed) == set(imported)
    for name in dd.__all__:
        public = getattr(dd, name)
        assert public.__module__ == imported[name]
        assert public.__doc__


@pytest.mark.slow
def test_it_is_typed_for_a_user_of_mypy(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(
        "import torch\nimport dataset_distillation as dd\n"
        "problem = dd.Problem.of(torch.rand(9, 8, 8), torch.arange(9), dd.MLP())\n"
        "reveal_type(dd.distill(problem))\n"
        "reveal_type(dd.load_distilled('x').images)\n"
        "dd.distill(problem, 3)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "user.py"]
    found = {
        **os.environ,
        "MYPYPATH": str(Path(inspect.getfile(dd)).parents[1]),
    }  # mypy sees no editable install
    out = subprocess.run(command, cwd=tmp_path, env=found, capture_output=True, text=True, check=False).stdout
    assert '"dataset_distillation.distilled.artifact.DistilledSet"' in out
    assert '"torch._tensor.Tensor"' in out
    assert 'Argument 2 to "distill" has incompatible type "int"' in out
    assert "Found 1 error in 1 file" in out


def test_what_a_machine_cannot_hold_is_refused_before_it_is_tried() -> None:
    images, labels = digits()
    problem = dd.Problem.of(images, labels, network(), init=dd.Random())
    for options, told in (
        (dd.Distilled(steps=10**6, images_per_class=1000), "distilled.steps=1000000: needs"),
        (dd.Distilled(images_per_class=10**6, steps=1000), "distilled.images_per_class=1000000: needs"),
        (dd.Distilled(steps=1, epochs=10**6), "trainer.memory=free: the meta-gradient needs"),
    ):
        with pytest.raises(dd.ConfigError, match=told):
            dd.distill(problem, options, **SHORT)
    large = torch.rand(20, 1000, 1000), torch.arange(20) % 2
    problem = dd.Problem.of(*large, dd.Linear(), test=0.4, validation=0.5)
    with pytest.raises(dd.ConfigError, match=r"outer\.batch_size=1000000: needs"):
        dd.distill(problem, outer=dd.Outer(batch_size=10**6))
    with pytest.raises(dd.ConfigError, match="architecture=mlp: needs"):
        dd.Problem.of(images, labels, dd.MLP(width=100_000, layers=100))
