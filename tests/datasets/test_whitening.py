"""ZCA whitening: against scipy's matrix square root, and undone wherever pixels are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from dataset_distillation import load_distilled
from dataset_distillation.datasets.digits import Digits
from dataset_distillation.distilled.start import start
from dataset_distillation.errors import ConfigError, FileError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.describe import describe
from dataset_distillation.pipeline.prepare import prepare
from support.command_line import distill, distill_evaluate
from support.experiments import TINY

Make = Callable[..., Experiment]


def digits(**options: object) -> Digits:
    return Digits(name="digits", image_size=8, **options)  # type: ignore[arg-type]


def test_it_is_the_inverse_square_root_of_the_covariance() -> None:
    plain, white = digits().load(0), digits(whitening="zca", regularization=0.3).load(0)
    x = plain.train.batch().images.flatten(1).double().numpy()
    covariance = np.cov(x, rowvar=False, bias=True)
    matrix = np.linalg.inv(sqrtm(covariance + 0.3 * np.eye(64)))
    expected = torch.from_numpy((x - x.mean(0)) @ matrix.real)
    whitened = white.train.batch().images.flatten(1).double()
    torch.testing.assert_close(whitened, expected, rtol=1e-3, atol=1e-4)
    values = np.linalg.eigvalsh(covariance)
    spectrum = np.linalg.eigvalsh(np.cov(whitened.numpy(), rowvar=False, bias=True))
    np.testing.assert_allclose(spectrum, values / (values + 0.3), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["zca", "zca_per_image"])
def test_an_autocast_leaves_it_in_single_precision(kind: str) -> None:
    """A training step in bf16 draws its real batch inside of one."""
    train = digits(whitening=kind).load(0).train
    expected = train.batch(slice(9)).images
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(train.batch(slice(9)).images, expected)


def test_per_image_it_loses_brightness_and_contrast_alone() -> None:
    """Whitened and undone, an image has its own unit with the train images' brightness and contrast."""
    plain, white = digits().load(0), digits(whitening="zca_per_image").load(0)
    x, whitening = plain.test.batch().images.flatten(1), white.specification.whitening
    assert whitening is not None
    train = plain.train.batch().images.flatten(1)
    m, train_m = x.mean(1, keepdim=True), train.mean(1, keepdim=True)
    contrast = (train - train_m).norm(dim=1).mean()
    expected = (x - m) / (x - m).norm(dim=1, keepdim=True) * contrast + train_m.mean()
    whitened = white.test.batch().images
    torch.testing.assert_close(whitening.undo(whitened).flatten(1), expected, rtol=1e-3, atol=1e-3)
    brighter = whitening.apply((3 * x + 1).view_as(whitened))
    torch.testing.assert_close(brighter, whitened, rtol=1e-3, atol=1e-4)
    assert whitening.apply(torch.ones(1, 1, 8, 8)).abs().max() < 1e-3  # a constant image has no unit


def test_per_image_it_is_the_inverse_square_root_of_the_mean_product() -> None:
    """Of the units u, with the regularization in units of the mean eigenvalue, as KIP has it."""
    plain, white = digits().load(0), digits(whitening="zca_per_image", regularization=0.3).load(0)
    units = []
    for split in (plain.train, plain.test):
        x = split.batch().images.flatten(1).double().numpy()
        x -= x.mean(1, keepdims=True)
        units.append(x / np.linalg.norm(x, axis=1, keepdims=True))
    products = units[0].T @ units[0] / len(units[0])
    matrix = np.linalg.inv(sqrtm(products + 0.3 * np.trace(products) / 64 * np.eye(64)))
    found = white.test.batch().images.flatten(1).numpy()
    np.testing.assert_allclose(found, units[1] @ matrix.real, rtol=1e-3, atol=1e-4)


def test_test_images_are_whitened_by_the_train_split_and_pixels_are_as_they_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    plain, white = digits().load(0), digits(whitening="zca").load(0)
    assert "fitting a whitening (zca) of 1×8×8 numbers per image to 1,2" in caplog.text
    alone, whitening = digits(whitening="zca").load_test(0), white.specification.whitening
    assert whitening is not None
    expected = whitening.apply(plain.test.batch().images)
    for split in (white.test, alone.test):
        torch.testing.assert_close(split.batch().images, expected)
    for split, before in ((white.test, plain.test), (white.validation, plain.validation)):
        pixels = split.specification.pixels(split.batch().images)
        torch.testing.assert_close(pixels, before.pixels(slice(None)) / 255, rtol=1e-3, atol=1e-4)
    other = digits(whitening="zca", split_seed=1).load(0).specification.whitening
    assert other is not None
    assert other.train_checksum != whitening.train_checksum


def test_the_artifact_has_both_kinds_of_images(experiment: Make, tmp_path: Path) -> None:
    small = ("dataset.image_size=8", "architecture=linear")
    e = experiment(*small, "dataset.whitening=zca", "distilled.start=real")
    problem = prepare(e)
    made = describe(problem, start(e.distilled, problem.data.train, 0), {"config": {}, "seed": 0})
    made.save(tmp_path / "white.safetensors")
    read = load_distilled(tmp_path / "white.safetensors")
    whitening = problem.data.specification.whitening
    assert whitening is not None
    assert read.metadata["whitening"]["train_checksum"] == whitening.train_checksum
    assert read.pixels.min() >= -1e-3
    assert read.pixels.max() <= 1 + 1e-3
    assert torch.equal(read.seen_as(problem.data.specification), read.images)
    # Of data that are not whitened, networks see the plain images, and the other way round.
    plain = prepare(experiment(*small)).data.specification
    torch.testing.assert_close(read.seen_as(plain), read.plain_images)
    assert read.plain_images is not None
    before = replace(read, images=read.plain_images, plain_images=None, metadata={**read.metadata})
    del before.metadata["whitening"]
    torch.testing.assert_close(before.seen_as(problem.data.specification), read.images, rtol=1e-3, atol=1e-3)
    # It is the start of another run, in its form.
    given = ("distilled.start=artifact", f"distilled.start_from={tmp_path}/white.safetensors")
    for whiten, expected in (("zca", read.images), ("none", read.plain_images)):
        e = experiment(*small, *given, f"dataset.whitening={whiten}")
        torch.testing.assert_close(start(e.distilled, prepare(e).data.train, 0).images.detach(), expected)


@pytest.mark.parametrize("kind", ["zca", "zca_per_image"])
def test_a_stored_matrix_whitens_own_images(kind: str, experiment: Make, tmp_path: Path) -> None:
    small = ("dataset.image_size=8", "architecture=linear", f"dataset.whitening={kind}")
    e = experiment(*small, "distilled.start=real", "distilled.store_whitening=true")
    problem = prepare(e)
    data, more = start(e.distilled, problem.data.train, 0), {"config": {}, "seed": 0}
    describe(problem, data, more, e.distilled.store_whitening).save(tmp_path / "white.safetensors")
    read = load_distilled(tmp_path / "white.safetensors")
    expected, labels = problem.data.test.batch()
    own = problem.data.test.pixels(slice(None))
    torch.testing.assert_close(read.normalize(own), expected)
    network = problem.network
    share = (network(expected).argmax(1) == labels).float().mean().item()
    assert read.accuracy(network, own, labels) == pytest.approx(share)
    with pytest.raises(ValueError, match=r"no matrix to whiten other images by; .*store_whitening=true"):
        replace(read, whitening={}).normalize(own)
    for odd in ({"mean": torch.zeros(64)}, {"mean": torch.zeros(64), "matrix": torch.zeros(64, 63)}):
        (tmp_path / "odd.safetensors").write_bytes(replace(read, whitening=odd).content())
        with pytest.raises(FileError, match=r"a whitening of shapes .* for 64 numbers per image"):
            load_distilled(tmp_path / "odd.safetensors")


@pytest.mark.slow
def test_it_is_judged_on_whitened_images_wherever(tmp_path: Path) -> None:
    asked = [*TINY, "dataset.image_size=8", "architecture=mlp", "dataset.whitening=zca", "outer.steps=3"]
    ended = distill(*asked, "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended.err
    artifact = f"artifact={tmp_path / 'run' / 'distilled.safetensors'}"
    again = distill_evaluate(artifact, "logger=none", "hydra.run.dir=again", folder=tmp_path)
    assert again.code == 0, again.err
    tables = [(tmp_path / folder / "evaluation.csv").read_text().splitlines() for folder in ("run", "again")]
    accuracies = [[line.split(",")[:4] for line in table if "distilled" in line] for table in tables]
    assert accuracies[0] == accuracies[1]
    assert "made with" not in again.err
    plain = distill_evaluate(
        artifact, "dataset.whitening=none", "logger=none", "hydra.run.dir=plain", folder=tmp_path
    )
    assert plain.code == 0, plain.err
    assert "was made with dataset.whitening=zca; here: dataset.whitening=none" in plain.err


def test_what_is_refused(experiment: Make) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.whitening=pca: must be one of none, zca, zca_per_image"):
        digits(whitening="pca")
    with pytest.raises(ConfigError, match=r"dataset\.regularization=0: must be greater than 0"):
        digits(regularization=0)
    with pytest.raises(ConfigError, match=r"distilled\.store_whitening=True: there is nothing to store"):
        experiment("distilled.store_whitening=true")
    numbers = ("dataset=linear_regression", "architecture=linear", "objective=regression")
    with pytest.raises(ConfigError, match=r"dataset\.whitening=zca: is for images"):
        experiment(*numbers, "distilled.labels=learned", "dataset.whitening=zca")
