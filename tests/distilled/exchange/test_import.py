"""distill-import: each project's layout, and what its file does not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torch.nn import functional

from dataset_distillation.cli.exchange import read_and_write
from dataset_distillation.datasets.digits import Digits
from dataset_distillation.distilled.artifact import DistilledSet, load_distilled
from dataset_distillation.distilled.exchange import meaning
from dataset_distillation.errors import ConfigError, UserError
from support import layouts
from support.layouts import LABELS, LOGITS, images

#: CIFAR-10 at 8 px: nothing of the data set is read.
HERE = ["--dataset", "cifar10", "dataset.image_size=8", "architecture.width=4"]


def imported(path: Path, *more: str) -> tuple[DistilledSet, str]:
    output = path.parent / "imported" / "set.safetensors"
    output.unlink(missing_ok=True)  # of another call
    *notes, last = read_and_write([str(path), *HERE, "--output", str(output), *more])
    assert last == str(output)
    return load_distilled(output), "\n".join(notes)


def test_dc_is_the_last_run_in_its_own_normalization(tmp_path: Path) -> None:
    distilled, notes = imported(layouts.dc(tmp_path))
    assert torch.equal(distilled.images, images(seed=0)[None])
    assert torch.equal(distilled.labels, LABELS[None])
    assert distilled.metadata["std"] == [0.2023, 0.1994, 0.2010]  # not those of conf/
    assert distilled.metadata["config"]["dataset"]["std"] == [0.2023, 0.1994, 0.2010]
    assert distilled.metadata["config"]["distilled"]["images_per_class"] == 2
    assert distilled.metadata["class_names"][0] == "airplane"
    assert distilled.learning_rates.shape == (300, 1)
    assert distilled.learning_rates.unique().item() == pytest.approx(0.01)
    assert "layout dc\nit holds 2 runs; the last is taken" in notes
    assert "those of the project" in notes


def test_mtt_is_two_files_and_tesla_has_probabilities(tmp_path: Path) -> None:
    distilled, notes = imported(layouts.mtt(tmp_path), "--zca", "none", "--learning-rate", "0.03")
    assert torch.equal(distilled.labels, LABELS[None])
    assert distilled.learning_rates.shape == (1000, 1)
    assert distilled.learning_rates[0].item() == pytest.approx(0.03)
    assert "layout mtt" in notes
    layouts.mtt(tmp_path, LOGITS.softmax(1))
    distilled, notes = imported(tmp_path / "images_best.pt", "--zca", "none")
    torch.testing.assert_close(distilled.labels, LOGITS.softmax(1)[None])
    assert "labels read as probabilities" in notes


def test_what_is_said_of_whitening_is_doubted_where_neighbors_are_alike() -> None:
    ramp = torch.arange(64.0).view(1, 1, 1, 1, 64).expand(1, 1, 1, 64, 64)
    noise = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    doubt = "and in images that are not whitened by 0.8 or more"
    assert doubt in meaning.check_whitening(ramp, "kornia", "mtt")
    assert doubt not in meaning.check_whitening(noise, "kornia", "mtt")


def test_datm_has_logits_and_a_learning_rate(tmp_path: Path) -> None:
    distilled, notes = imported(layouts.mtt(tmp_path, LOGITS, rate=0.012), "--zca", "none")
    torch.testing.assert_close(distilled.labels, LOGITS.softmax(1)[None])
    assert distilled.learning_rates.unique().item() == pytest.approx(0.012)
    assert "layout datm" in notes
    assert "labels read as logits, through a softmax" in notes


def test_logits_of_an_unknown_kind_must_be_told(tmp_path: Path) -> None:
    layouts.mtt(tmp_path, LOGITS)
    with pytest.raises(ConfigError, match="could mean several things; add --labels logits"):
        imported(tmp_path)
    hard, _ = imported(tmp_path, "--zca", "none", "--labels", "classes")
    assert torch.equal(hard.labels, LOGITS.argmax(1)[None])
    with pytest.raises(ConfigError, match="these do not sum to 1"):
        imported(tmp_path, "--labels", "probabilities")


def test_idc_has_pixels_and_each_holds_several_images(tmp_path: Path) -> None:
    path, pixels = layouts.idc(tmp_path), images().sigmoid()
    with pytest.raises(ConfigError, match="--factor=auto: the file does not say"):
        imported(path)
    one, _ = imported(path, "--factor", "1")
    torch.testing.assert_close(one.pixels[0], pixels, atol=1e-6, rtol=0)
    four, notes = imported(path, "--factor", "2")
    assert four.images.shape == (1, 80, 3, 8, 8)
    corner = functional.interpolate(pixels[:, :, :4, 4:], size=8, mode="bilinear")  # row 0, column 1
    torch.testing.assert_close(four.pixels[0, 20:40], corner, atol=1e-5, rtol=0)
    assert torch.equal(four.labels, LABELS.repeat(4)[None])
    assert "taken as pixels" in notes


def test_sides_that_are_no_multiple_of_the_factor_are_padded_by_gray() -> None:
    parts, labels = meaning.formed(torch.ones(1, 1, 5, 5), torch.tensor([7]), 2)
    assert parts.shape == (4, 1, 5, 5)
    assert parts[0].min() == 1
    assert parts[3, 0, 4, 4] == 0.5
    assert labels.tolist() == [7] * 4


def test_dd_has_steps_and_epochs(tmp_path: Path) -> None:
    distilled, notes = imported(layouts.dd(tmp_path, steps=3, epochs=2))
    assert torch.equal(distilled.images, torch.stack([images(10, seed) for seed in range(3)]))
    expected = torch.tensor([[0.01, 0.02, 0.03], [0.04, 0.05, 0.06]])
    torch.testing.assert_close(distilled.learning_rates, expected)
    assert distilled.metadata["std"] == [0.247, 0.243, 0.261]
    assert distilled.metadata["inner_optimizer"] == "sgd"
    assert "3 steps × 2 epochs" in notes


def test_kip_has_its_channels_last_and_centered_labels(tmp_path: Path) -> None:
    distilled, notes = imported(layouts.kip(tmp_path), "--zca", "none")
    torch.testing.assert_close(distilled.images, images()[None])
    torch.testing.assert_close(distilled.labels[0], functional.one_hot(LABELS, 10).float())
    assert "centered: 1/10 was added" in notes


def test_kornias_whitening_is_fitted_again_on_the_pixels_of_the_train_split(tmp_path: Path) -> None:
    train = Digits(name="digits", image_size=8).load(0).train
    x = (train.pixels(slice(None)) / 255).flatten(1).double().numpy()
    matrix = sqrtm(np.linalg.inv(np.cov(x, rowvar=False) + 0.1 * np.eye(64))).real  # kornia divides by n − 1
    pixels = images()[:, :1].sigmoid()
    whitened = torch.from_numpy((pixels.flatten(1).double().numpy() - x.mean(0)) @ matrix)
    torch.save(whitened.float().view(20, 1, 8, 8), tmp_path / "images_best.pt")
    torch.save(LABELS, tmp_path / "labels_best.pt")
    output = tmp_path / "set.safetensors"
    of_digits = ["--dataset", "digits", "dataset.image_size=8", "architecture=linear"]
    *notes, _ = read_and_write([str(tmp_path), *of_digits, "--zca", "kornia", "--output", str(output)])
    distilled = load_distilled(output)
    assert "whitened as you say, kornia" in "\n".join(notes)
    assert torch.equal(distilled.images[0], torch.load(tmp_path / "images_best.pt"))
    torch.testing.assert_close(distilled.pixels[0], pixels, rtol=0, atol=1e-3)
    judging = distilled.metadata["config"]["dataset"]
    assert (judging["whitening"], judging["regularization"]) == ("zca", 0.1)
    assert (distilled.metadata["mean"], distilled.metadata["std"]) == ([0.0], [1.0])


@pytest.mark.parametrize("write", [layouts.rat_bptt, layouts.at_bptt])
def test_rat_bptt_has_flat_images_and_weights_of_the_cross_entropy(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    distilled, notes = imported(write(tmp_path), "--zca", "none")
    assert torch.equal(distilled.images, images()[None])
    assert torch.equal(distilled.labels, LOGITS.relu()[None])
    assert "layout rat_bptt" in notes
    assert "labels read as weights, as they are" in notes
    assert (distilled.metadata["inner_optimizer"], distilled.metadata["augmentation"]) == (
        "adam",
        "flip_rotate",
    )
    assert distilled.learning_rates.unique().tolist() == [pytest.approx(0.001)]
    with pytest.raises(
        ConfigError, match="--zca=auto: the file does not say whether its images are whitened"
    ):
        imported(layouts.rat_bptt(tmp_path, data=torch.randn(20, 192)))


def test_a_checkpoint_is_known_by_what_it_holds(tmp_path: Path) -> None:
    file = layouts.at_bptt(tmp_path).rename(tmp_path / "checkpoint.pt")
    assert "layout rat_bptt" in imported(file, "--zca", "none")[1]


def test_images_without_labels_are_in_the_order_of_the_classes(tmp_path: Path) -> None:
    distilled, notes = imported(layouts.rat_bptt(tmp_path, label=False), "--zca", "none")
    assert torch.equal(distilled.labels, LABELS[None])
    assert "it has no labels: its images are in the order of the classes" in notes
    with pytest.raises(UserError, match="19 images without labels, no multiple of the 10 classes"):
        imported(layouts.rat_bptt(tmp_path, label=False, data=images(19).flatten(1)), "--zca", "none")


def test_lgm_has_a_dictionary(tmp_path: Path) -> None:
    distilled, _ = imported(layouts.lgm(tmp_path), "--range", "pixels")
    torch.testing.assert_close(distilled.pixels[0], images().sigmoid(), atol=1e-5, rtol=0)
    assert torch.equal(distilled.labels, LABELS[None])


def test_whitening_per_image_is_fitted_again(tmp_path: Path) -> None:
    """Test images are seen as RaT-BPTT's code makes them, from pixels in [0, 255]."""
    digits = Digits(name="digits", image_size=8).load(0)
    x, test = (split.pixels(slice(None)).flatten(1).double() for split in (digits.train, digits.test))
    x, test = (images - images.mean(1, keepdim=True) for images in (x, test))
    x, test = (images / images.norm(dim=1, keepdim=True) for images in (x, test))
    covariance = (x.T @ x / len(x)).numpy()
    ridge = 0.1 * np.trace(covariance) / 64 * np.eye(64)
    expected = test @ torch.from_numpy(np.linalg.inv(sqrtm(covariance + ridge)).real)
    output = tmp_path / "set.safetensors"
    of_digits = ["--dataset", "digits", "dataset.image_size=8", "architecture=linear", "--zca", "per_image"]
    file = layouts.rat_bptt(tmp_path, data=images()[:, 0].flatten(1))
    *notes, _ = read_and_write([str(file), *of_digits, "--output", str(output)])
    distilled = load_distilled(output)
    assert "whitened as you say, per_image" in "\n".join(notes)
    assert torch.equal(distilled.images[0], images()[:, :1])
    judging = {**distilled.metadata["config"]["dataset"]}
    assert judging["whitening"] == distilled.metadata["whitening"]["kind"] == "zca_per_image"
    judging = {key: judging[key] for key in ("image_size", "whitening", "regularization", "mean", "std")}
    seen = Digits(name="digits", **judging).load_test(0).test.batch().images.flatten(1).double()
    torch.testing.assert_close(seen, expected, rtol=1e-3, atol=1e-4)


def test_folders_of_images_are_classes_in_order(tmp_path: Path) -> None:
    distilled, notes = imported(layouts.sre2l(tmp_path / "syn"))
    assert torch.equal(distilled.labels, LABELS[None])
    levels = torch.arange(10).repeat_interleave(2) * 20 + torch.arange(2).repeat(10)
    torch.testing.assert_close(distilled.pixels[0, :, 0, 0, 0] * 255, levels.float())
    assert "8 bits" in notes


def noise(folder: Path) -> Path:
    torch.save(torch.randn(20, 3, 8, 8, generator=torch.Generator().manual_seed(0)), folder / "images.pt")
    torch.save(LABELS, folder / "labels.pt")
    return folder


def scaled(factor: float, shift: float = 0.0) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = layouts.idc(folder)
        torch.save([images().sigmoid() * factor + shift, LABELS], path)
        return path

    return write


@pytest.mark.parametrize(
    ("write", "more", "told"),
    [
        (
            noise,
            [],
            "--zca=auto: the file does not say whether its images are whitened, and neighboring pixels",
        ),
        (layouts.mtt, ["--zca", "per_image", "--factor", "2"], "--factor=2: must be 1 with --zca per_image"),
        (
            layouts.mtt,
            ["--zca", "per_image", "dataset.whitening=zca"],
            "whitening=zca: is what --zca per_image",
        ),
        (layouts.mtt, ["dataset.whitening=zca"], "dataset.whitening=zca: is what --zca says; leave it out"),
        (layouts.mtt, ["--zca", "kornia", "--factor", "2"], "--factor=2: must be 1 with --zca kornia"),
        (layouts.mtt, ["--zca", "kornia", "dataset.mean=[0,0,0]"], "dataset.mean=.*: is what --zca kornia"),
        (
            layouts.mtt,
            ["--zca", "kornia", "dataset.channels=1000000000"],
            "dataset.channels=1000000000: must",
        ),
        (scaled(255), ["--factor", "1"], "--range=auto: values from .* look like bytes"),
        (scaled(1), ["--format", "mtt"], "not a set in the layout mtt"),
        (layouts.mtt, ["--labels", "soft"], "--labels=soft: must be one of auto, centered"),
        (layouts.mtt, ["--factor", "0"], "--.factor=0: must be greater than 0"),
        (layouts.mtt, ["--learning-rate", "-1"], "--learning-rate=-1.0: must be greater than 0"),
        (layouts.mtt, ["--format", "tar"], "--format=tar: must be one of auto, datm"),
        (layouts.mtt, ["dataset.image_size=16"], "images are 3×8×8; choose another, or dataset.channels=3"),
        (
            layouts.mtt,
            ["--dataset", "mnist", "dataset.channels=3"],
            "dataset.mean=.*: those of the project are not",
        ),
        (layouts.mtt, ["--dataset", "nothing"], "--dataset=nothing: must be one of"),
        (layouts.mtt, ["dataset.typo=1"], "typo"),
        (layouts.mtt, ["--typo"], "unrecognized arguments: --typo"),
        (layouts.mtt, ["--output", "set.pt"], "--output=set.pt: must be a name that ends with .safetensors"),
        (lambda folder: folder / "none.pt", [], "none.pt: no such file"),
    ],
)
def test_what_must_be_told_is_asked_for_in_one_line(
    write: Callable[[Path], Path], more: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=told) as error:
        imported(write(tmp_path), *more)
    assert isinstance(error.value, UserError) or "typo" in told
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(("typed", "told"), [([], "FILE: is missing"), (["a.pt"], "--output=: must be a")])
def test_what_is_missing_is_named(typed: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_and_write(typed)


def test_the_range_can_be_told(tmp_path: Path) -> None:
    distilled, _ = imported(scaled(255)(tmp_path), "--factor", "1", "--range", "bytes")
    torch.testing.assert_close(distilled.pixels[0], images().sigmoid(), atol=1e-5, rtol=0)


def test_neighboring_pixels_correlate_in_photographs_alone() -> None:
    ramp: Tensor = torch.arange(64.0).view(1, 1, 1, 1, 64).expand(1, 1, 1, 64, 64)
    assert meaning.neighbors(ramp) > 0.95
    assert meaning.check_whitening(ramp, "auto", "mtt").startswith("taken as not whitened")
    draw = torch.randn(1, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert abs(meaning.neighbors(draw)) < 0.02
    # Photographs whitened by kornia's ZCA still have about 2/3, as means of three neighbors in noise do.
    whitened = functional.avg_pool2d(draw[0], (1, 3), stride=1)
    assert 0.6 < meaning.neighbors(whitened) < 0.7
    with pytest.raises(ConfigError, match="--zca=auto"):
        meaning.check_whitening(whitened, "auto", "mtt")
