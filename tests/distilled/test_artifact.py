"""The artifact: what is saved is what is read, and what is read trains a network in plain PyTorch."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from dataset_distillation import load_distilled
from dataset_distillation.distilled import artifact
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.errors import UserError
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.problem import Problem

METADATA: dict[str, Any] = {
    "class_names": ["a", "ß"],
    "mean": [0.5],
    "std": [0.25],
    "architecture": "linear",
    "inner_optimizer": "sgd",
    "config": {"seed": 0, "outer": {"betas": [0.5, 0.999]}},
}


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


@pytest.fixture
def distilled() -> DistilledSet:
    generator = torch.Generator().manual_seed(0)
    return DistilledSet(
        images=torch.randn(3, 2, 1, 2, 2, generator=generator),
        labels=torch.tensor([[0, 1]] * 3),
        learning_rates=torch.rand(2, 3, generator=generator),
        initial_weights={},
        metadata=METADATA,
    )


@pytest.fixture
def path(distilled: DistilledSet, tmp_path: Path) -> Path:
    distilled.save(tmp_path / "distilled.safetensors")
    return tmp_path / "distilled.safetensors"


def test_what_is_saved_is_what_is_read(distilled: DistilledSet, path: Path) -> None:
    read = load_distilled(path)
    for name in ("images", "labels", "learning_rates"):
        assert torch.equal(getattr(read, name), getattr(distilled, name))
    assert read.metadata == METADATA
    assert read.initial_weights == {}


def test_the_loss_is_the_one_it_was_made_with(distilled: DistilledSet) -> None:
    """One step on learned targets by half the squared error, written out."""
    targets = torch.arange(12.0).view(3, 2, 2)
    metadata = METADATA | {"loss": "half_squared_error"}
    rates = torch.full((1, 1), 0.1)
    one = dataclasses.replace(
        distilled, images=distilled.images[:1], labels=targets[:1], learning_rates=rates, metadata=metadata
    )
    ours = network()
    theirs = {name: tensor.detach().clone() for name, tensor in ours.named_parameters()}
    x = one.images[0].flatten(1)
    error = x @ theirs["1.weight"].T + theirs["1.bias"] - targets[0]
    one.train(ours)
    expected = theirs["1.weight"] - 0.1 / 2 * error.T @ x
    torch.testing.assert_close(ours[1].weight.detach(), expected)


def test_the_inner_optimizer_has_the_options_it_was_made_with(distilled: DistilledSet) -> None:
    config = METADATA["config"] | {"inner_optimizer": {"momentum": 0.5, "nesterov": True}}
    metadata = METADATA | {"inner_optimizer": "momentum", "config": config}
    ours, theirs = network(), network()
    theirs.load_state_dict(ours.state_dict())
    dataclasses.replace(distilled, metadata=metadata).train(ours)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=1.0, momentum=0.5, nesterov=True)
    for images, labels, learning_rate in distilled.steps:
        optimizer.param_groups[0]["lr"] = learning_rate.item()
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(images), labels).backward()
        optimizer.step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_train_is_the_inner_steps_with_torch_optim(path: Path) -> None:
    ours, theirs = network(), network()
    theirs.load_state_dict(ours.state_dict())
    read = load_distilled(path)
    assert read.train(ours) is ours
    for epoch in range(2):
        for step in range(3):
            optimizer = torch.optim.SGD(theirs.parameters(), lr=float(read.learning_rates[epoch, step]))
            optimizer.zero_grad()
            nn.functional.cross_entropy(theirs(read.images[step]), read.labels[step]).backward()
            optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_a_fixed_initialization_is_kept_and_used(distilled: DistilledSet, tmp_path: Path) -> None:
    start = {name: torch.full_like(p, 0.1).detach() for name, p in network().named_parameters()}
    kept = DistilledSet(distilled.images, distilled.labels, distilled.learning_rates, start, METADATA)
    kept.save(tmp_path / "fixed.safetensors")
    first, second = (load_distilled(tmp_path / "fixed.safetensors").train(network()) for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="do not match the fixed initialization"):
        kept.train(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))


def test_pixels_undo_the_normalisation(distilled: DistilledSet) -> None:
    torch.testing.assert_close((distilled.pixels - 0.5) / 0.25, distilled.images)


def test_whatever_is_not_an_artifact_is_refused_in_one_line(path: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no artifact\n")
    half = tmp_path / "half.safetensors"
    half.write_bytes(path.read_bytes()[:-5])
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, other)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(path.read_bytes().replace(b'\\"outer\\"', b'\\"outer\\ '))
    for bad in (text, half, other, broken, tmp_path, tmp_path / "missing.safetensors"):
        with pytest.raises(UserError) as error:
            load_distilled(bad)
        assert str(bad) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_newer_format_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "FORMAT", 0)
    with pytest.raises(UserError, match="newer version"):
        load_distilled(path)


def test_any_changed_byte_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError):
            load_distilled(path)


def test_the_first_format_had_no_checksum(distilled: DistilledSet, path: Path) -> None:
    tensors = {name: getattr(distilled, name) for name in ("images", "labels", "learning_rates")}
    metadata = {name: json.dumps(value) for name, value in {"format": 1, **METADATA}.items()}
    safetensors.torch.save_file(tensors, path, metadata)
    assert torch.equal(load_distilled(path).images, distilled.images)
    assert load_distilled(path).metadata == METADATA


@pytest.mark.parametrize(
    "changed",
    [
        {"images": torch.zeros(3, 2, 1, 2)},
        {"images": torch.zeros(3, 2, 3, 2, 2)},
        {"labels": torch.zeros(3, 1, dtype=torch.int64)},
        {"labels": torch.full((3, 2), 2)},
        {"labels": torch.zeros(3, 2)},
        {"learning_rates": torch.zeros(2, 2)},
        {"learning_rates": torch.zeros(2, 3)},
        {"learning_rates": torch.full((2, 3), float("nan"))},
        {"images": torch.full((3, 2, 1, 2, 2), float("nan"))},
        {"labels": torch.full((3, 2, 2), float("inf"))},
        {"initial_weights": {"weight": torch.tensor(float("nan"))}},
        {"metadata": {**METADATA, "std": [0.0]}},
        {"metadata": {**METADATA, "batches": {"number": 6, "kind": "any"}}},
        {"metadata": {**METADATA, "batches": {"number": 6, "random": "no"}}},
        {"metadata": {**METADATA, "batches": {"number": 10**9}}, "learning_rates": torch.ones(1, 1)},
        *({"metadata": {k: v for k, v in METADATA.items() if k != name}} for name in METADATA),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    changed: dict[str, Any], distilled: DistilledSet, path: Path
) -> None:
    other = replace(distilled, **changed)
    with pytest.raises(UserError, match="not written, since it could not be read again"):
        other.save(path)
    path.write_bytes(other.content())
    with pytest.raises(UserError, match="not a distilled dataset"):
        load_distilled(path)


def test_the_metadata_are_plain_json(path: Path) -> None:
    with safetensors.safe_open(path, framework="pt") as file:
        assert {name: json.loads(value) for name, value in file.metadata().items()}["format"] == 3


def test_a_network_in_double_precision_is_trained_too(distilled: DistilledSet) -> None:
    single, double = network(), network().double()
    double.load_state_dict(single.state_dict())
    distilled.train(single)
    distilled.train(double)
    for a, b in zip(single.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


def test_the_storage_is_counted_in_bytes(distilled: DistilledSet) -> None:
    """Float pixels and rates of 4 bytes, labels of 8; a real image has a byte a pixel and such a label."""
    steps, n, *shape = distilled.images.shape
    pixels = math.prod(shape)
    metadata = distilled.metadata | {"train_images": 100}
    storage = replace(distilled, metadata=metadata).storage
    assert storage.images_bytes == 4 * steps * n * pixels
    assert storage.labels_bytes == 8 * steps * n
    assert storage.learning_rates_bytes == 4 * distilled.learning_rates.numel()
    assert storage.images_per_class == steps * n / len(metadata["class_names"])
    assert storage.share_of_real_images == pytest.approx(steps * n / 100)
    assert storage.share_of_real_bytes == pytest.approx(storage.bytes / (100 * (pixels + 8)))
    assert distilled.storage.real_bytes is None  # an older file does not say how many there are


class Noisy(nn.Sequential):
    """With dropout as a layer and as a function, and BatchNorm with and without running statistics."""

    def __init__(self) -> None:
        norms = nn.BatchNorm1d(6, momentum=0.5), nn.BatchNorm1d(6, track_running_stats=False)
        super().__init__(nn.Flatten(), nn.Linear(4, 6), norms[0], nn.Dropout(), norms[1], nn.Linear(6, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(images, training=self.training))


@pytest.mark.parametrize("mode", [True, False])
def test_dropout_and_batch_norm_are_as_in_the_evaluation(mode: bool, distilled: DistilledSet) -> None:
    """The same network twice, and the one that the evaluation trains and tests."""
    torch.manual_seed(0)
    given, images, labels = Noisy(), torch.randn(40, 1, 2, 2), torch.arange(40) % 2
    ours, again = (distilled.train(copy.deepcopy(given).train(mode)) for _ in range(2))
    assert all(module.training == mode for module in ours.modules())
    assert isinstance(ours[3], nn.Dropout)
    assert ours[3].p == 0.5
    with torch.no_grad():
        outputs = ours.eval()(images)
        assert torch.equal(again.eval()(images), outputs)
        assert torch.equal(ours(images[:1]), outputs[:1])
    problem = Problem.of(images, labels, given, test=(images, labels))
    weights = {name: tensor.detach().clone() for name, tensor in given.named_parameters()}
    [found] = held_out(problem, problem.data.test, [weights], [list(distilled.steps)]).runs["loss"]
    mean, std = problem.data.specification.mean[0], problem.data.specification.std[0]
    with torch.no_grad():
        expected = nn.functional.cross_entropy(ours((images - mean) / std), labels)
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_a_folder_and_a_published_name_are_helped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a folder; the set of a run is the file distilled\.safe"):
        load_distilled(tmp_path)
    with pytest.raises(UserError, match=r'published sets have a seed: load_distilled\("demo", seed=0\)'):
        load_distilled("demo")
