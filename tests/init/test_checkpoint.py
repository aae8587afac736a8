"""init=checkpoint: a network that the user has, from a file or from torch hub's cache."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import safetensors.torch
import torch
from torch import Tensor
from torchvision import models

from dataset_distillation import load_distilled
from dataset_distillation.architectures.lenet import LeNet
from dataset_distillation.errors import ConfigError, UserError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import checksum, load_weights
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.problem import Problem
from support.command_line import distill, distill_evaluate
from support.experiments import TINY

Make = Callable[..., Experiment]
Weights = dict[str, Tensor]
NAME = "SqueezeNet1_1_Weights.IMAGENET1K_V1"


@pytest.fixture
def weights() -> Weights:
    """Of LeNet for ten classes, as its state dict has them."""
    shapes = {"0": (6, 1, 5, 5), "3": (16, 6, 5, 5), "7": (120, 400), "9": (84, 120), "11": (10, 84)}
    generator = torch.Generator().manual_seed(0)
    drawn = {
        f"{name}.weight": 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()
    }
    return drawn | {f"{name}.bias": torch.full(shape[:1], 0.5) for name, shape in shapes.items()}


@pytest.fixture
def problem_of(experiment: Make, tmp_path: Path) -> Callable[..., Problem]:
    """The problem whose init is the file of what is given."""

    def make(content: Any, *overrides: str, file: str = "weights.pth") -> Problem:
        if file.endswith(".safetensors"):
            safetensors.torch.save_file(content, tmp_path / file)
        else:
            torch.save(content, tmp_path / file)
        return prepare(experiment("init=checkpoint", f"init.path={tmp_path / file}", *overrides))

    return make


def error_of(problem: Problem) -> str:
    with pytest.raises(UserError) as raised:
        problem.population("init", 1)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- weights from a file ---


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
def test_the_file_is_the_initialization_of_every_network(
    file: str, weights: Weights, problem_of: Callable[..., Problem]
) -> None:
    problem = problem_of(weights, file=file)
    for purpose, number, step in (("init", 1, 0), ("init", 1, 7), ("held-out", 5, 0)):
        [population] = problem.population(purpose, number, step)
        assert population.keys() == weights.keys()
        assert all(torch.equal(population[name], weights[name]) for name in weights)
        for tensor in population.values():
            tensor.zero_()  # whoever has it may change it


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda tensor: tensor * float("nan"), "11.bias is not all finite"),
        (lambda tensor: tensor.to("meta"), "11.bias has no plain floating-point numbers"),
        (lambda tensor: tensor.to(torch.complex64), "11.bias has no plain floating-point numbers"),
        (lambda tensor: tensor.long(), "11.bias has no plain floating-point numbers"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(
    changed: Callable[[Tensor], Tensor], told: str, weights: Weights, problem_of: Callable[..., Problem]
) -> None:
    weights["11.bias"] = changed(weights["11.bias"])
    assert told in error_of(problem_of(weights))


def test_a_fresh_layer_has_weights_0_and_biases_1(
    weights: Weights, problem_of: Callable[..., Problem]
) -> None:
    weights["11.weight"], weights["11.bias"] = torch.randn(1000, 84), torch.randn(1000)
    problem = problem_of(weights, "init.fresh_layer='11'")
    [population] = problem.population("init", 1)
    assert torch.equal(population["11.weight"], torch.zeros(10, 84))
    assert torch.equal(population["11.bias"], torch.ones(10))
    assert torch.equal(population["9.weight"], weights["9.weight"])
    network = load_weights(problem.network, population)
    outputs, _ = training.outputs(network, problem.data.test)
    assert torch.equal(outputs, torch.ones(360, 10))


def test_what_a_batch_norm_keeps_is_not_needed(problem_of: Callable[..., Problem]) -> None:
    """The running statistics in a ResNet's state dict are ignored: networks here have none."""
    options = ("architecture=convnet", "architecture.norm=batch", "architecture.width=4")
    expected = problem_of({"x": torch.zeros(1)}, *options).origin.draw("any")
    running = {"1.running_mean": torch.zeros(4), "1.num_batches_tracked": torch.tensor(3)}
    [population] = problem_of(expected | running, *options).population("init", 1)
    assert all(torch.equal(population[name], expected[name]) for name in expected)


class Mine(torch.nn.Module):
    """Two weights that are one, and a constant."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(784, classes), torch.nn.Linear(784, classes)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.tensor([3.0]))

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return self.scale * (self.first(flat) + self.second(flat))


MINE = ["architecture=imported", f"architecture.path={__name__}:Mine"]


@pytest.mark.parametrize("left_out", [(), ("first.weight",), ("second.weight",), ("scale",)])
def test_the_state_dict_of_a_network_with_tied_weights_and_buffers(
    left_out: tuple[str, ...], problem_of: Callable[..., Problem]
) -> None:
    """Files of safetensors hold one of the names of a tied weight."""
    state = {name: tensor for name, tensor in Mine(10).state_dict().items() if name not in left_out}
    [population] = problem_of(state, *MINE).population("init", 1)
    assert population.keys() == {"first.weight", "first.bias", "second.bias"}
    weight = state.get("first.weight", state.get("second.weight"))
    assert weight is not None
    assert torch.equal(population["first.weight"], weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("second.weight", "first.weight and second.weight differ, and are one tensor in the network"),
        ("scale", "buffer scale differs from the network's; only parameters are read"),
    ],
)
def test_what_the_network_could_not_take_is_refused(
    name: str, message: str, problem_of: Callable[..., Problem]
) -> None:
    state = Mine(10).state_dict()
    assert message in error_of(problem_of({**state, name: state[name] + 1}, *MINE))


def change(name: str, tensor: Tensor | None) -> Callable[[Weights], None]:
    def changed(weights: Weights) -> None:
        weights.pop(name, None)
        if tensor is not None:
            weights[name] = tensor

    return changed


UNFIT: dict[str, tuple[Callable[[Weights], None], str]] = {
    "classes": (
        change("11.weight", torch.zeros(5, 84)),
        "weights.pth: 11.weight has shape (5, 84), in the network (10, 84); use init.fresh_layer=11 to start",
    ),
    "missing": (
        change("3.weight", None),
        "no tensor 3.weight; the network has one of shape (16, 6, 5",
    ),
    "extra": (change("13.weight", torch.zeros(2)), "weights.pth: the network has no tensor 13.weight"),
    "nested": (
        change("state_dict", {}),
        "weights.pth: not a state dict (tensors by name); save network.state",
    ),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_file_that_does_not_fit_is_refused_by_the_tensor(
    what: str, weights: Weights, problem_of: Callable[..., Problem]
) -> None:
    spoil, message = UNFIT[what]
    spoil(weights)
    assert message in error_of(problem_of(weights))


def test_a_fresh_layer_must_exist_and_excuses_no_other(
    weights: Weights, problem_of: Callable[..., Problem]
) -> None:
    assert "init.fresh_layer=fc: must be one of 0, 3, 7, 9, 11" in error_of(
        problem_of(weights, "init.fresh_layer=fc")
    )
    weights["9.weight"] = torch.zeros(84, 3)
    assert "9.weight has shape (84, 3)" in error_of(problem_of(weights, "init.fresh_layer=11"))


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch evil",)


@pytest.mark.parametrize("content", [Evil(), {"0.weight": Evil()}])
def test_no_code_of_a_file_is_run(
    content: Any, problem_of: Callable[..., Problem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "weights.pth: not a file of weights, or damaged" in error_of(problem_of(content))
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("file", ["half.pth", "half.safetensors"])
def test_a_damaged_file_is_named(file: str, weights: Weights, problem_of: Callable[..., Problem]) -> None:
    problem = problem_of(weights, file=file)
    path = Path(problem.init.path)
    path.write_bytes(path.read_bytes()[:3000])
    assert f"{path}: not a file of weights, or damaged" in error_of(problem)


@pytest.mark.parametrize(("options", "message"), [
    ([], "init.path=None: init.weights is None; give a file or torchvision's weights by name"),
    (["init.path=a", f"init.weights={NAME}"], f"init.path=a: init.weights is {NAME}; give"),
    (["init.path=nowhere.pth"], "init.path=nowhere.pth: no such file"),
    (["init.weights=AlexNet"], "init.weights=AlexNet: no such weights in torchvision.models"),
    (["init.weights=AlexNet_Weights.V9"], "init.weights=AlexNet_Weights.V9: no such weights"),
    ([f"init.weights={NAME}", "init.networks=4"], "init.networks=4: a fixed initialization is one network"),
])  # fmt: skip
def test_wrong_options_are_refused(options: list[str], message: str, experiment: Make) -> None:
    with pytest.raises(ConfigError) as refused:
        experiment("init=checkpoint", *options)
    assert message in str(refused.value)


# --- torchvision's weights by name ---


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch hub, and no network, which is asked once at most."""
    asked: list[object] = []

    def no_network(*_: object, **__: object) -> None:
        asked.append(_)
        assert len(asked) == 1
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def test_weights_that_are_not_there_say_where_they_belong(hub: Path, experiment: Make) -> None:
    problem = prepare(experiment("init=checkpoint", "init.weights=AlexNet_Weights.IMAGENET1K_V1"))
    message = error_of(problem)
    for part in (
        f"init.weights=AlexNet_Weights.IMAGENET1K_V1: not in {hub}, and the download failed",
        "Name or service not known",
        "put alexnet-owt-7be5be79.pth there, or set TORCH_HOME",
    ):
        assert part in message
    assert not list(hub.iterdir())


def test_weights_by_name(hub: Path, experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """SqueezeNet's, made here in their true form: the last layer is a convolution to 1,000 classes."""
    hub.mkdir(parents=True)
    state = models.squeezenet1_1().state_dict()
    torch.save(state, hub / "made")
    digest = hashlib.sha256((hub / "made").read_bytes()).hexdigest()[:8]
    file = (hub / "made").rename(hub / f"squeezenet-{digest}.pth")
    monkeypatch.setattr(models.get_weight(NAME).value, "url", f"https://nowhere.invalid/{file.name}")
    options = ["architecture=torchvision", "architecture.name=squeezenet1_1", "dataset.channels=3",
               "init=checkpoint", f"init.weights={NAME}", "init.fresh_layer=classifier.1"]  # fmt: skip
    [population] = prepare(experiment(*options)).population("init", 1)
    assert torch.equal(population["features.0.weight"], state["features.0.weight"])
    assert torch.equal(population["classifier.1.weight"], torch.zeros(10, 512, 1, 1))
    file.write_bytes(file.read_bytes() + b"!")
    assert f"{file}: damaged" in error_of(prepare(experiment(*options)))


# --- the artifact ---


def lenet() -> torch.nn.Module:
    return LeNet().build((1, 28, 28), 10)


def test_other_weights_in_the_file_judge_no_artifact_unless_they_are_asked_for(
    weights: Weights, tmp_path: Path
) -> None:
    torch.save(weights, tmp_path / "weights.pth")
    given = ["init=checkpoint", f"init.path={tmp_path}/weights.pth", "evaluation.networks=1"]
    assert distill(*TINY, *given, "hydra.run.dir=run", folder=tmp_path).code == 0
    asked = [f"artifact={tmp_path / 'run' / 'distilled.safetensors'}", "logger=none", "hydra.run.dir=judged"]
    assert distill_evaluate(*asked, "hydra.run.dir=same", folder=tmp_path).code == 0
    weights["11.bias"] += 1
    torch.save(weights, tmp_path / "weights.pth")
    ended = distill_evaluate(*asked, folder=tmp_path)
    assert ended.code == 2
    told = "was made for one known network, and that of init=checkpoint is another now; restore its weights"
    assert told in ended.err.splitlines()[-1]
    assert distill_evaluate(*asked, f"init.path={tmp_path}/weights.pth", folder=tmp_path).code == 0


@pytest.mark.parametrize("store", [False, True])
def test_the_artifact_holds_the_weights_or_their_checksum(
    store: bool, weights: Weights, tmp_path: Path
) -> None:
    torch.save(weights, tmp_path / "weights.pth")
    given = ["init=checkpoint", f"init.path={tmp_path}/weights.pth", f"init.store={store}"]
    ended = distill(*TINY, *given, "evaluation.networks=1", "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended.err
    read = load_distilled(tmp_path / "run" / "distilled.safetensors")
    assert read.initial_weights.keys() == (weights.keys() if store else set())
    assert read.metadata["initial_weights_sha256"] == checksum(weights)
    network = lenet()
    if not store:
        with pytest.raises(ValueError, match=r"checksum; load those of metadata.*weights\.pth"):
            read.train(network)
        network.load_state_dict(weights)
    before = [parameter.clone() for parameter in network.parameters()]
    trained = read.train(network)
    expected = load_weights(lenet(), weights)
    training.train(expected, read.steps, SGD())
    for first, second, old in zip(trained.parameters(), expected.parameters(), before, strict=True):
        assert torch.equal(first, second)
        assert not torch.equal(first, old)
    (tmp_path / "weights.pth").unlink()  # judged later, it is needed unless the artifact has what it held
    asked = [f"artifact={tmp_path / 'run' / 'distilled.safetensors'}", "trainer=cpu", "trainer.threads=1"]
    asked += ["logger=none"]
    judged = distill_evaluate(*asked, "hydra.run.dir=judged", folder=tmp_path)
    assert judged.code == (0 if store else 2), judged.err
    if store:
        ours, theirs = (pandas.read_csv(tmp_path / of / "evaluation.csv") for of in ("judged", "run"))
        assert ours["loss"].tolist() == theirs["loss"].tolist()
    else:
        assert "weights.pth: no such file" in judged.err
