"""Data sets: what comes out is uint8 images, labels and a specification that agree with the source."""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from sklearn.datasets import load_digits

from dataset_distillation.datasets.conversion import channels_first, convert, moments
from dataset_distillation.datasets.data import Data, Raw
from dataset_distillation.datasets.digits import Digits
from dataset_distillation.datasets.imported import Imported
from dataset_distillation.datasets.in_memory import InMemory
from dataset_distillation.datasets.splits import stratified
from dataset_distillation.datasets.torchvision import TorchvisionDataset
from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment import compose
from dataset_distillation.randomness import stream
from support.refusals import error_of

ROOT = Path(os.environ.get("DATA_DIR", "data"))

GRAY: dict[str, int | bool] = {"channels": 1, "image_size": 28, "download": False}


def images_of(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


# --- conversion ---


def test_channels_first_knows_the_usual_layouts() -> None:
    images = images_of(4, 3, 6, 5)
    assert torch.equal(channels_first(images), images)
    assert torch.equal(channels_first(images.permute(0, 2, 3, 1).numpy()), images)
    assert torch.equal(channels_first(images[:, 0]), images[:, :1])
    with pytest.raises(ValueError, match=r"shape \(4, 2, 6, 5\)"):
        channels_first(images[:, :2])


def test_convert_leaves_alone_what_fits() -> None:
    images = images_of(4, 3, 6, 6)
    assert convert(images, 3, 6) is images


def test_convert_grey_is_the_luma_of_rec_601() -> None:
    images = images_of(4, 3, 6, 6)
    images[0] = 255  # white stays white
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    luma = (images * weights).sum(1, keepdim=True)
    assert (convert(images, 1, 6) - luma).abs().max() < 0.53
    assert (convert(images, 1, 6)[0] == 255).all()
    grey = images[:, :1]
    assert torch.equal(convert(grey, 3, 6), grey.expand(-1, 3, -1, -1))


def test_convert_resizes_as_pillow_does() -> None:
    image = images_of(1, 1, 12, 20)
    pillow = Image.fromarray(image[0, 0].numpy()).resize((8, 8), Image.Resampling.BILINEAR)
    difference = convert(image, 1, 8)[0, 0].int() - torch.tensor(np.array(pillow)).int()
    assert difference.abs().max() <= 1


def test_convert_leaves_a_black_border() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (3, 1, 16, 16), dtype=torch.uint8, generator=generator)
    bordered = convert(images, 3, 28, border=5)
    assert bordered.shape == (3, 3, 28, 28)
    assert torch.equal(bordered[:, :, 5:-5, 5:-5], convert(images, 3, 18))
    assert bordered.sum() == bordered[:, :, 5:-5, 5:-5].sum()


@pytest.mark.parametrize("border", [-1, 14])
def test_a_border_leaves_something_of_the_image(composed: Callable[..., DictConfig], border: int) -> None:
    with pytest.raises(ConfigError, match=f"dataset.border={border}: must be 0 or more"):
        compose.read(composed([f"dataset.border={border}"]))


@pytest.mark.parametrize(("share", "remedy"), [(0.08, "set it higher"), (0.92, "set it lower")])
def test_a_split_that_leaves_a_class_without_images_is_refused_by_its_name(share: float, remedy: str) -> None:
    """Either part has room for an image of each class, but the smaller one gets less than half of a cat."""
    labels = torch.tensor([0] * 40 + [1] * 40 + [2] * 3)
    with pytest.raises(ConfigError, match=f"without images of class 'cat', which has 3; {remedy}"):
        stratified(labels, share, 0, "dataset.validation", ["ant", "bee", "cat"])
    parts = stratified(labels, 0.3, 0, "dataset.validation", ["ant", "bee", "cat"])
    assert all(set(labels[part].tolist()) == {0, 1, 2} for part in parts)


def test_a_share_that_is_too_large_is_told_what_would_do() -> None:
    with pytest.raises(ConfigError, match=r"set it to 0\.95 or less"):
        stratified(torch.arange(100) % 5, 0.99, 0, "dataset.validation", list("abcde"))


def test_convert_in_chunks_is_convert() -> None:
    images = images_of(1500, 1, 8, 8)
    whole = convert(images, 3, 10)
    assert whole.shape == (1500, 3, 10, 10)
    assert torch.equal(whole[1400:], convert(images[1400:], 3, 10))


def test_moments() -> None:
    images = images_of(7, 3, 5, 5)
    mean, std = moments(images)
    scaled = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean).double(), scaled.mean((0, 2, 3)), atol=1e-7, rtol=0)
    expected = scaled.std((0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(std).double(), expected, atol=1e-7, rtol=0)


# --- what every data set does, on digits ---


@pytest.fixture(scope="module")
def digits() -> Data:
    return Digits(image_size=8).load(0)


def test_digits_are_those_of_scikit_learn(digits: Data) -> None:
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1293, 144, 360)
    source = load_digits()
    expected = {
        (np.round(image * 255 / 16).astype(np.uint8).tobytes(), label)
        for image, label in zip(source.images, source.target, strict=True)
    }
    found = [
        (image.numpy().tobytes(), int(label))
        for split in (digits.train, digits.validation, digits.test)
        for image, label in zip(split.images, split.labels, strict=True)
    ]
    assert set(found) == expected
    assert len(found) == 1797


def test_splits_are_stratified(digits: Data) -> None:
    shares = [
        torch.bincount(split.labels, minlength=10) / len(split)
        for split in (digits.train, digits.validation, digits.test)
    ]
    assert all((share - shares[0]).abs().max() < 0.01 for share in shares)


def test_only_validation_depends_on_the_seed_of_the_split(digits: Data) -> None:
    """Not on that of the run, unless the split has none, as before it had one."""
    same, other = Digits(image_size=8).load(1), Digits(image_size=8, split_seed=1).load(0)
    assert torch.equal(same.validation.images, digits.validation.images)
    older = Digits(image_size=8, split_seed=None)
    assert torch.equal(older.load(0).validation.images, digits.validation.images)
    assert torch.equal(older.load(1).validation.images, other.validation.images)
    assert not torch.equal(other.validation.images, digits.validation.images)
    assert torch.equal(other.test.images, digits.test.images)
    assert other.specification == digits.specification
    assert other.checksum == digits.checksum


def test_batch_is_normalised(digits: Data) -> None:
    everything = torch.cat([digits.train.batch().images, digits.validation.batch().images])
    assert everything.mean().abs() < 1e-5
    assert float(everything.std()) == pytest.approx(1, abs=1e-4)
    batch = digits.train.batch(torch.tensor([5]))
    mean, std = digits.specification.mean[0], digits.specification.std[0]
    pixels = (batch.images * std + mean) * 255
    torch.testing.assert_close(pixels, digits.train.images[5:6].float(), atol=1e-3, rtol=0)
    assert batch.labels.tolist() == [int(digits.train.labels[5])]


def test_given_mean_and_std_are_used_if_they_fit_the_channels() -> None:
    given = Digits(mean=[0.5], std=[0.25]).load(0).specification
    assert (given.mean, given.std) == ((0.5,), (0.25,))
    measured = Digits(mean=[0.5], std=[0.25], channels=3).load(0).specification
    assert len({*measured.mean}) == 1
    assert measured.mean[0] == pytest.approx(Digits().load(0).specification.mean[0])


def test_checksum_is_of_the_source() -> None:
    raw = Digits().read()
    digest = hashlib.sha256()
    for tensor in (*raw.train, *raw.test):
        digest.update(str(tuple(tensor.shape)).encode() + tensor.numpy().tobytes())
    assert Digits(image_size=28).load(0).checksum == digest.hexdigest()
    flipped = Digits()
    raw.train[0][0, 0, 0, 0] += 1
    flipped.read = lambda: raw
    assert flipped.load(0).checksum != digest.hexdigest()


@pytest.mark.parametrize(("options", "message"), [
    ({"channels": 2}, "dataset.channels=2: must be 1 .* or 3"),
    ({"image_size": 0}, "dataset.image_size=0"),
    ({"validation": 1.0}, "dataset.validation=1.0: must lie between 0 and 1"),
    ({"mean": [0.5]}, "dataset.mean=.0.5.: dataset.std is None; set both or neither"),
    ({"mean": [0.5], "std": [0.0]}, "dataset.std=0.0: must be greater than 0"),
])  # fmt: skip
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Digits(**options)


def test_options_that_do_not_fit_the_data_are_refused() -> None:
    assert "dataset.validation=0.001: cuts 2 of 1437 images" in error_of(Digits(validation=0.001))
    assert "must name the 10 classes of digits" in error_of(Digits(class_names=["a", "b"]))


def test_each_row_of_numbers_is_in_one_part() -> None:
    rows = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 1, 2, 2)
    data = InMemory(rows, torch.arange(40.0).view(40, 1), test=0.25, validation=0.2).load(7)
    parts = [split.labels.flatten().tolist() for split in (data.train, data.validation, data.test)]
    assert list(map(len, parts)) == [24, 6, 10]
    assert sorted(itertools.chain(*parts)) == list(range(40))
    rest = sorted(parts[0] + parts[1])
    drawn = torch.Generator().manual_seed(stream(0, "validation split").initial_seed())
    assert parts[1] == [rest[i] for i in sorted(torch.randperm(30, generator=drawn)[:6].tolist())]


# --- torchvision ---


def write_mnist(root: Path, name: str, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Idx files as LeCun specified them, so that no byte of the true MNIST is needed."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">iiii", 2051, len(images), 28, 28)
    (raw / f"{name}-images-idx3-ubyte").write_bytes(header + images.numpy().tobytes())
    label_bytes = bytes(labels.tolist())
    (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, len(labels)) + label_bytes)


def test_mnist_from_unpacked_files(tmp_path: Path) -> None:
    images, labels = images_of(40, 28, 28), torch.arange(40) % 10
    for name in ("train", "t10k"):
        write_mnist(tmp_path, name, images, labels)
    data = TorchvisionDataset(name="MNIST", root=str(tmp_path), **GRAY, validation=0.5).load(0)
    assert torch.equal(data.test.images[:, 0], images)
    assert torch.equal(data.test.labels, labels)
    assert len(data.train) == len(data.validation) == 20


def test_a_root_may_be_named_from_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_mnist(tmp_path / "there", "train", images_of(40, 28, 28), torch.arange(40) % 10)
    write_mnist(tmp_path / "there", "t10k", images_of(20, 28, 28), torch.arange(20) % 10)
    given = {"root": "~/there", "channels": 1, "image_size": 28, "validation": 0.5}
    dataset = TorchvisionDataset(name="MNIST", download=False, **given)
    assert len(dataset.load(0).test) == 20
    told = error_of(replace(dataset, root="~/nowhere"))
    assert f"not readable in {tmp_path / 'nowhere'} (" in told
    assert "~" not in told


def test_a_test_set_alone_is_measured_if_the_mean_has_other_channels(tmp_path: Path) -> None:
    for name, number in (("train", 20), ("t10k", 10)):
        write_mnist(tmp_path, name, images_of(number, 28, 28), torch.arange(number) % 10)
    color = {"channels": 3, "image_size": 28, "mean": [0.13], "std": [0.31], "validation": 0.5}
    dataset = TorchvisionDataset(name="MNIST", root=str(tmp_path), download=False, **color)
    alone = dataset.load_test(0)
    assert len(alone.specification.mean) == 3
    assert alone.specification == dataset.load(0).specification


def test_a_test_set_cut_from_both_sets(tmp_path: Path) -> None:
    """A fifth of each class, from anywhere, and each image in one part alone."""
    images, labels = images_of(100, 28, 28), torch.arange(100) % 10
    write_mnist(tmp_path, "train", images[:60], labels[:60])
    write_mnist(tmp_path, "t10k", images[60:], labels[60:])
    dataset = TorchvisionDataset(name="MNIST", root=str(tmp_path), **GRAY, test=0.2, validation=0.5)
    data, again = dataset.load(0), dataset.load(1)
    assert torch.bincount(data.test.labels).tolist() == [2] * 10
    assert torch.equal(data.test.images, again.test.images)  # whatever the run's seed
    assert torch.equal(data.test.images, replace(dataset, mean=[0.5], std=[0.5]).load_test(0).test.images)
    parts = [
        {image.numpy().tobytes() for image in s.images} for s in (data.train, data.validation, data.test)
    ]
    assert set().union(*parts) == {image.numpy().tobytes() for image in images}
    assert sum(map(len, parts)) == 100
    first = {image.numpy().tobytes() for image in images[:60]}
    assert 0 < len(parts[2] & first) < 20
    with pytest.raises(ConfigError, match=r"dataset\.test=1\.5: must lie between 0 and 1, or be null"):
        replace(dataset, test=1.5)


def test_svhn_from_matlab_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SVHN's form: X is 32×32×3×N, and label 10 means the digit 0."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    images, labels = images_of(20, 3, 32, 32), np.array([*range(1, 11)] * 2)
    for split in ("train", "test"):
        file = f"{split}_32x32.mat"
        savemat(tmp_path / file, {"X": images.permute(2, 3, 1, 0).numpy(), "y": labels[:, None]})
        monkeypatch.setitem(SVHN.split_list, split, ["", file, None])  # no md5: these are not the true files
    root = str(tmp_path)
    data = TorchvisionDataset(name="SVHN", root=root, channels=3, image_size=32, validation=0.5).load(0)
    assert torch.equal(data.test.images, images)
    assert data.test.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2


def test_sets_that_keep_files_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    class Imagenette(datasets.VisionDataset):  # images of unequal sizes, no array of them
        classes = (("tench", "Tinca tinca"), ("horn",))

        def __init__(self, root: str, split: str = "train") -> None:
            super().__init__(root)
            self.shade = {"train": 50, "val": 200}[split]

        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new("RGB", (10 + index, 7), (self.shade, index, 0)), index % 2

    monkeypatch.setattr(datasets, "Imagenette", Imagenette)
    given = {"train_arguments": {"split": "train"}, "test_arguments": {"split": "val"}}
    dataset = TorchvisionDataset(name="Imagenette", channels=3, image_size=8, root=str(tmp_path), **given)
    raw = dataset.read()
    assert raw.class_names == ["tench, Tinca tinca", "horn"]
    assert raw.test[1].tolist() == [0, 1] * 4
    assert raw.train[0][3, :, 0, 0].tolist() == [50, 3, 0]
    assert raw.test[0][3, :, 7, 7].tolist() == [200, 3, 0]


@pytest.mark.parametrize(("name", "message"), [
    ("Cifar10", "dataset.name=Cifar10: no such class in torchvision.datasets; did you mean CIFAR10"),
    ("EuroSAT", "dataset.name=EuroSAT: has no train and test split"),
])  # fmt: skip
def test_names_that_are_no_choice(name: str, message: str) -> None:
    assert message in error_of(TorchvisionDataset(name=name))


@pytest.mark.parametrize("name", ["MNIST", "USPS", "CIFAR10", "SVHN"])
@pytest.mark.parametrize("download", [True, False])
def test_missing_files_without_network(
    name: str, download: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    message = error_of(TorchvisionDataset(name=name, root=str(tmp_path / "nowhere"), download=download))
    where = f"dataset {name}: not readable in {tmp_path / 'nowhere'}"
    for part in (where, "DATA_DIR", "dataset.download=true"):
        assert part in message
    assert ("Name or service not known" in message) == download
    assert (tmp_path / "nowhere").exists() == download


REAL = {
    "MNIST": ("MNIST/raw", 1, 28, 60_000, 10_000, [0.1307], [0.3081]),
    "USPS": ("usps.bz2", 1, 28, 7_291, 2_007, [0.2471], [0.2855]),
    "CIFAR10": (
        "cifar-10-batches-py", 3, 32, 50_000, 10_000, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_data(name: str, capfd: pytest.CaptureFixture) -> None:
    """Published sizes, and the constants that stand in conf/dataset."""
    file, channels, size, train, test, mean, std = REAL[name]
    if not (ROOT / file).exists():
        pytest.skip(f"{name} is not in {ROOT}: set DATA_DIR to where it is")
    data = TorchvisionDataset(name=name, root=str(ROOT), channels=channels, image_size=size).load(0)
    assert len(data.train) + len(data.validation) == train
    assert len(data.test) == test
    assert data.train.images.shape[1:] == data.specification.shape == (channels, size, size)
    assert data.specification.mean == pytest.approx(mean, abs=1e-4)
    assert data.specification.std == pytest.approx(std, abs=1e-4)
    assert name != "CIFAR10" or data.specification.class_names[6] == "frog"
    assert capfd.readouterr().err == ""


# --- imported ---

MODULE = """
import numpy as np
rng = np.random.default_rng(0)
def split(n=20, low=0, dtype="uint8", shape=(6, 6, 3), labels=None):
    images = rng.integers(0, 256, (n, *shape)).astype(dtype)
    return images, low + np.arange(n) % 2 if labels is None else labels
def load(): return split(), split(10), ["cat", "dog"]
def unnamed(): return split(), split(10)
def from_one(): return (*split(low=1),), split(10, low=1)
def beyond(): return split(), split(10, low=1), ["cat", "dog"]
def floats(): return split(dtype="float32"), split(10)
def one_hot(): return split(labels=np.eye(20)), split(10)
def fewer(): return split(labels=np.zeros(3, int)), split(10)
def layout(): return split(shape=(2, 6, 6)), split(10)
def nothing(): return None
def broken(): raise OSError("disk on fire")
"""


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user_data.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield
    sys.modules.pop("user_data", None)


@pytest.mark.usefixtures("user_code")
@pytest.mark.parametrize(("name", "class_names"), [("load", ("cat", "dog")), ("unnamed", ("0", "1"))])
def test_the_users_arrays(name: str, class_names: tuple[str, ...]) -> None:
    data = Imported(name="mine", path=f"user_data:{name}", channels=3, image_size=6).load(0)
    assert data.specification.class_names == class_names
    assert data.test.images.shape == (10, 3, 6, 6)
    assert data.test.labels.tolist() == [0, 1] * 5


@pytest.mark.usefixtures("user_code")
@pytest.mark.parametrize(("name", "message"), [
    ("from_one", "class '0' has no train image"),
    ("beyond", "test labels run from 1 to 2: must lie in 0..1 for 2 classes"),
    ("floats", "train images are torch.float32: must be uint8"),
    ("one_hot", "train labels are torch.float64 of shape (20, 20): must be integers"),
    ("fewer", "20 train images with 3 labels"),
    ("layout", "train images or labels: ValueError: shape (20, 2, 6, 6)"),
    ("nothing", "must return ((train images, train labels), (test images, test labels)"),
    ("broken", "user_data:broken raised OSError: disk on fire"),
    ("absent", "has no absent"),
])  # fmt: skip
def test_errors_in_the_users_arrays_are_one_line(name: str, message: str) -> None:
    assert message in error_of(Imported(name="mine", path=f"user_data:{name}", channels=3, image_size=6))


def test_a_blank_data_set_is_refused() -> None:
    blank = (torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.arange(20) % 2)
    dataset = Digits(name="blank", image_size=8, validation=0.5)
    dataset.read = lambda: Raw(blank, blank, ["a", "b"])
    assert "dataset blank: all pixels of a channel are equal" in error_of(dataset)


def test_choices_import_without_torch() -> None:
    """`distill --help` imports every choice."""
    code = """import pkgutil, sys
from dataset_distillation import architectures, datasets
for package in (architectures, datasets):
    for module in pkgutil.iter_modules(package.__path__):
        pkgutil.resolve_name(f"{package.__name__}.{module.name}")
assert not {"torch", "torchvision", "sklearn", "numpy", "PIL"} & {*sys.modules}"""
    subprocess.run([sys.executable, "-c", code], check=True)
