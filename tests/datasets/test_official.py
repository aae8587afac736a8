"""CIFAR's files are checked and read as data; what torchvision reads is checked before."""

from __future__ import annotations

import bz2
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from dataset_distillation.datasets.torchvision import TorchvisionDataset
from dataset_distillation.errors import UserError

MEASURED: dict[str, Any] = {"channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}


def write_cifar(root: Path, batch: Any) -> dict[str, Any]:
    """A test batch of ten classes; returns the attributes of CIFAR10 that say which files are official."""
    folder = root / CIFAR10.base_folder
    folder.mkdir()
    contents = {"test_batch": batch, "batches.meta": {"label_names": [f"class {n}" for n in range(10)]}}
    md5 = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=4))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    meta = {**CIFAR10.meta, "md5": md5["batches.meta"]}
    return {"test_list": [["test_batch", md5["test_batch"]]], "meta": meta}


def batch() -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3072), dtype=np.uint8)
    return {"data": pixels, "labels": list(range(10))}


class Payload:
    """Runs code where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def test_what_is_read_is_what_torchvision_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in write_cifar(tmp_path, batch()).items():
        monkeypatch.setattr(CIFAR10, name, value)
    monkeypatch.setattr(CIFAR10, "train_list", [])
    ours = TorchvisionDataset(name="CIFAR10", root=str(tmp_path), download=False, **MEASURED).test_split()[0]
    theirs = CIFAR10(str(tmp_path), train=False)
    assert torch.equal(ours.images.permute(0, 2, 3, 1), torch.from_numpy(theirs.data))
    assert ours.labels.tolist() == theirs.targets
    assert list(ours.specification.class_names) == theirs.classes


@pytest.mark.parametrize("download", [True, False])
def test_a_test_batch_of_somebody_else_is_refused(download: bool, tmp_path: Path) -> None:
    write_cifar(tmp_path, Payload(tmp_path / "ran"))
    dataset = TorchvisionDataset(name="CIFAR10", root=str(tmp_path), download=download, **MEASURED)
    with pytest.raises(UserError, match=r"test_batch: not the official file, or damaged \(its MD5 is not"):
        dataset.load_test(0)
    assert not (tmp_path / "ran").exists()


def test_even_an_official_pickle_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in write_cifar(tmp_path, Payload(tmp_path / "ran")).items():
        monkeypatch.setattr(CIFAR10, name, value)
    dataset = TorchvisionDataset(name="CIFAR10", root=str(tmp_path), download=False, **MEASURED)
    with pytest.raises(UserError, match=r"test_batch: .*posix\.mkdir is not data"):
        dataset.load_test(0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("name", "file"), [
    ("MNIST", "MNIST/raw/t10k-images-idx3-ubyte"),
    ("USPS", "usps.t.bz2"),
    ("CIFAR10", "cifar-10-batches-py/test_batch"),
    ("SVHN", "test_32x32.mat"),
])  # fmt: skip
@pytest.mark.parametrize("odd", ["pipe", "sparse", "device"])
def test_an_odd_file_is_refused_at_once(name: str, file: str, odd: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if odd == "pipe":
        os.mkfifo(path)
    elif odd == "sparse":
        path.touch()
        os.truncate(path, 10**11)
    else:
        path.symlink_to("/dev/zero")
    options = {"channels": 1, "mean": [0.5], "std": [0.5]} if name in ("MNIST", "USPS") else MEASURED
    with pytest.raises(UserError, match=f"{path}: cannot be read") as error:
        TorchvisionDataset(name=name, root=str(tmp_path), **options).load_test(0)
    assert "\n" not in str(error.value)


def test_a_file_that_would_unpack_to_anything_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "usps.t.bz2").write_bytes(bz2.compress(bytes(10**7)))
    dataset = TorchvisionDataset(name="USPS", root=str(tmp_path), channels=1, mean=[0.5], std=[0.5])
    with pytest.raises(UserError, match=r"usps\.t\.bz2: not the official file"):
        dataset.load_test(0)
