"""The user's own network: where it is found, what it is called with, and what is said about it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from dataset_distillation import user_code
from dataset_distillation.architectures import changes, ends_in_softmax, stateless
from dataset_distillation.architectures.imported import Imported
from dataset_distillation.errors import ConfigError, UserError
from dataset_distillation.problem import Problem

NETS = """
from torch import nn
from layers_of_nets import layer
class MyNet(nn.Sequential):
    def __init__(self, image_size, classes, width=8):
        super().__init__(nn.Flatten(), layer(image_size**2, width), nn.Dropout(), layer(width, classes))
class Needy(nn.Module):
    def __init__(self, num_classes, depth): pass
def anything(**keywords): raise ValueError(sorted(keywords))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with nets.py, which imports a file beside it; it is not the current folder."""
    path = sys.path[:]
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "layers_of_nets.py").write_text("from torch.nn import Linear as layer")
    yield tmp_path
    sys.path[:] = path
    for name in ("nets", "layers_of_nets"):
        sys.modules.pop(name, None)


def test_a_file_is_imported_with_those_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = Imported(path=f"{folder}/nets.py:MyNet", arguments={"width": 5})
    architecture.check((1, 8, 8))
    network = architecture.build((1, 8, 8), 10)
    assert [p.shape for p in network.parameters()] == [(5, 64), (5,), (10, 5), (10,)]
    assert "nets" in architecture.modules(network)  # on which the key of a pool depends
    monkeypatch.chdir(folder)
    assert user_code.load("architecture.path", "nets.py:MyNet") is type(network)
    assert user_code.load("architecture.path", "./nets.py:MyNet.forward") is type(network).forward


@pytest.mark.parametrize(("path", "message"), [
    ("nowhere.py:Net", "no file .*nowhere.py"),
    ("layers.of.nets.py:Net", "no other dot in its name"),
    ("nets.txt/:Net", "no file"),
    ("torch.py:Net", "another module has the name torch: .*; rename the file"),
    ("nets.py:", "must be <module>:<attribute> or <file.py>:<attribute>"),
    ("nets.py:Nett", r"module nets \(.*nets.py\) has no Nett"),
])  # fmt: skip
def test_files_that_cannot_be_imported(
    path: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("layers.of.nets.py", "torch.py"):
        (folder / name).touch()
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=message):
        user_code.load("architecture.path", path)


def test_what_was_offered_to_a_constructor_that_refuses(folder: Path) -> None:
    needy = Imported(path=f"{folder}/nets.py:Needy", arguments={"depth": 3})
    with pytest.raises(ConfigError) as refused:
        needy.check((1, 8, 8))
    offered = "offered channels=1, image_size=8, classes=... and architecture.arguments={'depth': 3}"
    assert f"its signature is (num_classes, depth), and it was {offered}" in str(refused.value)
    assert "missing a required argument: 'num_classes'" in str(refused.value)
    with pytest.raises(ConfigError, match="got an unexpected keyword argument 'widht'"):
        Imported(path=f"{folder}/nets.py:MyNet", arguments={"widht": 3}).check((1, 8, 8))
    with pytest.raises(UserError, match=r"channels=1, image_size=8, classes=2, more=1\) raised ValueErr"):
        Imported(path=f"{folder}/nets.py:anything", arguments={"more": 1}).build((1, 8, 8), 2)
    with pytest.raises(ConfigError, match=r"architecture\.arguments=5: must be names with values"):
        Imported(path="nets:MyNet", arguments=5)


@pytest.mark.parametrize(("end", "found"), [
    ([nn.Softmax(1)], True),
    ([nn.LogSoftmax(1)], False),  # the cross-entropy is the same
    ([nn.Sigmoid()], False),
    ([nn.ReLU()], False),
    ([], False),
])  # fmt: skip
def test_a_softmax_at_the_end_is_found(end: list[nn.Module], found: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), *end)
    assert ends_in_softmax(network, (1, 4, 4)) == found


def test_the_author_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.BatchNorm2d(1), nn.Dropout2d(), nn.Flatten(), nn.Linear(16, 2), nn.Dropout(), nn.Softmax(1)
    )
    images, labels = torch.rand(20, 1, 4, 4), torch.arange(20) % 2
    Problem.of(images, labels, network).population("held-out", 3)
    assert caplog.messages[:4] == [
        "14 train, 2 validation, 4 test images of 2 classes",
        "train: 0 7, 1 7", "validation: 0 1, 1 1", "test: 0 2, 1 2",
    ]  # fmt: skip
    [*_, info, warning] = [record for record in caplog.records if "problem" in record.name]
    assert info.message.startswith("Sequential: BatchNorm (1 layer) uses in training the statistics of each")
    assert info.message.endswith("dropout (2 layers) is off")
    assert warning.levelno == logging.WARNING
    assert "remove the softmax at its end" in warning.message
    assert changes(stateless(nn.Sequential(nn.Linear(2, 2)))) == []


def doubled(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).double()


def test_a_network_in_double_precision_computes_in_single() -> None:
    network = Imported(path=f"{__name__}:doubled").build((1, 8, 8), 10)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
