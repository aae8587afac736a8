"""The artifact: what is saved is what is read, and what is read trains a network in plain PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from dataset_distillation import artifact, load_distilled
from dataset_distillation.artifact import DistilledSet
from dataset_distillation.errors import UserError

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


def test_a_newer_format_is_refused(
    distilled: DistilledSet, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "FORMAT", 0)
    with pytest.raises(UserError, match="newer version"):
        load_distilled(path)


def test_the_metadata_are_plain_json(path: Path) -> None:
    with safetensors.safe_open(path, framework="pt") as file:
        assert {name: json.loads(value) for name, value in file.metadata().items()}["format"] == 1


def test_a_network_in_double_precision_is_trained_too(distilled: DistilledSet) -> None:
    single, double = network(), network().double()
    double.load_state_dict(single.state_dict())
    distilled.train(single)
    distilled.train(double)
    for a, b in zip(single.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)
