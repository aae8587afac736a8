"""VOC 2007 and CUB-200-2011: official trees, read on demand, refused by the name of the first bad file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dataset_distillation.datasets import image_files
from dataset_distillation.datasets.cub200 import CUB200
from dataset_distillation.datasets.data import Split, TensorSplit
from dataset_distillation.datasets.voc2007 import CLASSES, VOC2007
from dataset_distillation.distilled.start import start
from dataset_distillation.errors import ConfigError, UserError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.pipeline.prepare import prepare
from support import trees
from support.command_line import distill
from support.experiments import TINY
from support.refusals import error_of

ROOT = Path(os.environ.get("DATA_DIR", "data"))
GIVEN: dict[str, Any] = {"channels": 3, "image_size": 8, "mean": [0.0] * 3, "std": [1.0] * 3}


def voc(root: Path, **options: Any) -> VOC2007:
    return VOC2007(name="voc", root=str(root), **{**GIVEN, "validation": 0.5, **options})


def cub(root: Path, **options: Any) -> CUB200:
    return CUB200(name="cub", root=str(root), **{**GIVEN, "validation": 0.5, **options})


def shades(pixels: torch.Tensor) -> list[set[int]]:
    """For each image the values of its first channel."""
    return [set(image[0].flatten().tolist()) for image in pixels]


@pytest.fixture
def voc_tree(tmp_path: Path) -> Path:
    return trees.voc(tmp_path)


@pytest.fixture
def cub_tree(tmp_path: Path) -> Path:
    return trees.cub(tmp_path)


# --- what is read ---


def test_voc_is_a_crop_an_object(voc_tree: Path) -> None:
    data = voc(voc_tree).load(0)
    assert data.specification.class_names == CLASSES
    assert (len(data.train) + len(data.validation), len(data.test)) == (41, 21)
    assert data.test.labels.tolist() == [0, 7, *range(1, 20)]  # 7: the cat of the first photograph
    # One pixel more on any side would be white; one less cannot be seen, so the box itself is looked at.
    expected = [{0}, {0}, *({label} for label in range(1, 20))]
    assert shades(data.test.pixels(slice(None))) == expected
    assert {sample.box for sample in data.test.pictures.samples} == {(10, 5, 20, 25)}


def test_difficult_objects_are_an_option(voc_tree: Path) -> None:
    data = voc(voc_tree, difficult=False).load(0)
    assert (len(data.train) + len(data.validation), len(data.test)) == (40, 20)
    assert data.test.labels.tolist() == [*range(20)]


def test_cub_has_its_official_split(cub_tree: Path) -> None:
    data = cub(cub_tree).load(0)
    assert data.specification.class_names == ("The Bird 0", "The Bird 1", "The Bird 2")
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 6, 6)
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    for split in (data.train, data.validation, data.test):
        assert shades(split.pixels(slice(None))) == [{10 * label} for label in split.labels.tolist()]


def test_the_test_photographs_are_enough(voc_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All that judging an artifact needs; the split is the one beside the train set."""
    cub_tree = trees.cub(tmp_path_factory.mktemp("cub"))
    for dataset, unneeded in (
        (voc(voc_tree), "VOCdevkit/VOC2007/*/**/*trainval*"),
        (cub(cub_tree), "CUB_200_2011/images/*/[0-3].jpg"),
    ):
        whole = dataset.load(0).test
        for path in Path(dataset.root).glob(unneeded):
            path.unlink()
        with pytest.raises(UserError):
            dataset.load(0)
        alone = dataset.load_test(0)
        assert len(alone.train) == len(alone.validation) == 0
        assert torch.equal(alone.test.labels, whole.labels)
        assert torch.equal(alone.test.batch().images, whole.batch().images)
        assert alone.specification == whole.specification


def test_the_real_samples() -> None:
    """Counted in the annotations by other means: objects of 60 and 60 photographs, and 80 birds."""
    for dataset, folder in ((voc(ROOT, validation=0.25), "VOCdevkit"), (cub(ROOT), "CUB_200_2011")):
        if not (ROOT / folder).is_dir():
            pytest.skip(f"{folder} is not in {ROOT}: set DATA_DIR to where it is")
        data = dataset.load(0)
        read = len(data.train) + len(data.validation) + len(data.test)
        if folder == "VOCdevkit":
            annotations = (ROOT / folder / "VOC2007" / "Annotations").glob("*.xml")
            assert read == sum(file.read_text().count("<object>") for file in annotations)
        else:
            assert read == len((ROOT / folder / "images.txt").read_text().splitlines())
        images, labels = data.test.batch(torch.arange(20))
        assert images.shape == (20, 3, 8, 8)
        assert (images >= 0).all()
        assert (images <= 1).all()
        assert images.flatten(1).std(dim=1).min() > 0.02
        assert torch.equal(labels, data.test.labels[:20])


# --- on demand ---


def test_a_split_in_files_is_a_split(voc_tree: Path) -> None:
    options = {"mean": [0.5] * 3, "std": [0.25] * 3}
    test = voc(voc_tree, **options).load(0).test
    everything = test.batch()
    torch.testing.assert_close(everything.images, (test.pixels(slice(None)) / 255 - 0.5) / 0.25)
    some = torch.tensor([5, 3, 5])
    assert torch.equal(test.batch(some).images, everything.images[some])
    assert torch.equal(test.batch(some).labels, everything.labels[some])
    subset = test.subset(some).subset(torch.tensor([1, 2]))
    assert len(subset) == 2
    assert torch.equal(subset.batch().images, everything.images[[3, 5]])
    assert len(test.subset(torch.arange(0)).batch().images) == 0


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files decoded so far."""
    files_decoded: list[Path] = []
    original = image_files.decoded

    def spy(file: Path, *arguments: Any) -> torch.Tensor:
        files_decoded.append(file)
        return original(file, *arguments)

    monkeypatch.setattr(image_files, "decoded", spy)
    return files_decoded


def test_nothing_is_decoded_before_it_is_asked_for_nor_stays_open(
    cub_tree: Path, decodings: list[Path]
) -> None:
    data = cub(cub_tree).load(0)
    assert not decodings
    opened = len(os.listdir("/proc/self/fd"))
    data.test.batch()
    assert len(decodings) == 6
    assert len(os.listdir("/proc/self/fd")) == opened


@pytest.mark.parametrize(("cache", "decoded"), [(0.0, 12), (4 * 3 * 64 / 1e9, 8), (1.0, 6)])
def test_the_cache_is_bounded(cub_tree: Path, decodings: list[Path], cache: float, decoded: int) -> None:
    """Six images of 3 × 8 × 8 bytes, each asked for twice; with room for none, four and all."""
    test = cub(cub_tree, cache=cache).load(0).test
    assert torch.equal(test.batch().images, test.batch().images)
    assert len(decodings) == decoded


def test_the_checksum_is_of_the_source(cub_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = cub(cub_tree).load(0).checksum
    moved = tmp_path_factory.mktemp("moved") / "data"
    cub_tree.rename(moved)
    assert cub(moved, image_size=9, validation=0.25).load(1).checksum == first
    with open(moved / "CUB_200_2011/images/002.The_Bird_1/3.jpg", "ab") as file:
        file.write(b"more")
    longer = cub(moved).load(0).checksum
    labels = moved / "CUB_200_2011/image_class_labels.txt"
    labels.write_text(labels.read_text().replace("\n12 2\n", "\n12 3\n"))
    assert len({first, longer, cub(moved).load(0).checksum}) == 3


def in_memory(split: Split) -> TensorSplit:
    return TensorSplit(split.labels, split.specification, split.pixels(slice(None)))


SMALL = ["dataset=voc2007", "dataset.image_size=8", "dataset.validation=0.5", "architecture=convnet",
         "architecture.depth=1", "architecture.width=4", "distilled.start=real"]  # fmt: skip


def test_what_is_made_of_real_images_is_the_same_from_files_as_from_memory(
    voc_tree: Path, experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CPU_CHUNK", 8)  # of 21 test images
    e = experiment(*SMALL, f"dataset.root={voc_tree}", "dataset.cache=0")
    on_demand = prepare(e)
    data = on_demand.data
    splits = {name: in_memory(getattr(data, name)) for name in ("train", "validation", "test")}
    problems = on_demand, replace(on_demand, data=replace(data, **splits))
    made: list[list[torch.Tensor]] = []
    for problem in problems:
        distilled = start(e.distilled, problem.data.train, e.seed)
        network = load_weights(problem.network, problem.population("any", 1)[0])
        chosen = problem.validation(e.evaluation.validation_images)
        outputs = [training.outputs(network, split) for split in (problem.data.test, chosen)]
        made.append([distilled.images, *(tensor for pair in outputs for tensor in pair)])
    assert all(torch.equal(*pair) for pair in zip(*made, strict=True))


def test_a_run_on_files_with_every_baseline(voc_tree: Path) -> None:
    baselines = "evaluation.baselines=[random_real,full_training]"
    ended = distill(*TINY, *SMALL, baselines, "dataset.root=.", "hydra.run.dir=run", folder=voc_tree)
    assert ended.code == 0, ended.err
    for method in ("distilled", "random real", "full training"):
        assert method in ended.out


# --- what is refused ---


def cut(file: Path) -> None:
    Image.effect_noise((60, 60), 50).save(file, format="JPEG")
    file.write_bytes(file.read_bytes()[:-200])


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, "no such file; is the dataset unpacked completely?"),
    "empty": (lambda file: file.write_bytes(b""), "not a readable image"),
    "text": (lambda file: file.write_text("<html>404</html>"), "not a readable image"),
    "cut short": (cut, "not a readable image (image file is truncated"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_the_first_broken_image_is_named(how: str, cub_tree: Path) -> None:
    images = cub_tree / "CUB_200_2011" / "images"
    spoil, message = BROKEN[how]
    for name in ("003.The_Bird_2/5.jpg", "002.The_Bird_1/2.jpg"):
        spoil(images / name)
    assert f"{images / '002.The_Bird_1/2.jpg'}: {message}" in error_of(cub(cub_tree))


def test_a_jpeg_with_something_behind_it_is_read(cub_tree: Path) -> None:
    with open(cub_tree / "CUB_200_2011/images/002.The_Bird_1/2.jpg", "ab") as file:
        file.write(b"behind the end")
    cub(cub_tree).load(0)


def test_an_image_that_breaks_later_is_named_then(cub_tree: Path) -> None:
    data = cub(cub_tree).load(0)
    broken = cub_tree / "CUB_200_2011/images/002.The_Bird_1/5.jpg"
    cut(broken)
    with pytest.raises(UserError, match=r"5\.jpg: not a readable image"):
        data.test.batch()


VOC_ERRORS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no image": (
        lambda tree: (tree / "JPEGImages/test_000003.jpg").unlink(),
        "test_000003.jpg: no such file",
    ),
    "no annotation": (
        lambda tree: (tree / "Annotations/test_000003.xml").unlink(),
        "test_000003.xml: no such file",
    ),
    "no list": (lambda tree: (tree / "ImageSets/Main/test.txt").unlink(), "Main/test.txt: no such file"),
    "empty list": (lambda tree: (tree / "ImageSets/Main/test.txt").write_text("\n"), "test.txt: empty"),
    "half": (lambda tree: halve(tree / "Annotations/test_000003.xml"), "test_000003.xml: not an annotation"),
    "unknown": (lambda tree: rename(tree, "car", "unicorn"), "000006.xml: not an annotation"),
    "no box": (lambda tree: rename(tree, "bndbox", "box"), "trainval_000000.xml: not an annotation"),
    "outside": (lambda tree: rename(tree, "<xmin>11", "<xmin>41"), "40×30 pixels, none of them in the"),
}


def halve(file: Path) -> None:
    file.write_text(file.read_text()[:200])


def rename(tree: Path, old: str, new: str) -> None:
    for file in (tree / "Annotations").iterdir():
        file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize("what", VOC_ERRORS)
def test_errors_in_a_voc_tree(what: str, voc_tree: Path) -> None:
    spoil, message = VOC_ERRORS[what]
    spoil(voc_tree / "VOCdevkit" / "VOC2007")
    assert message in error_of(voc(voc_tree))


@pytest.mark.parametrize(("file", "line", "message"), [
    ("classes.txt", "", "classes.txt: empty"),
    ("images.txt", "one 1.jpg\n", "images.txt: unexpected line 'one 1.jpg'"),
    ("image_class_labels.txt", "1 4\n", "image_class_labels.txt: unexpected line '1 4'"),
    ("train_test_split.txt", "1 1\n2 yes\n", "train_test_split.txt: unexpected line '2 yes'"),
    ("train_test_split.txt", "1 1\n", "train_test_split.txt: image 2 is missing either in this file or"),
])  # fmt: skip
def test_errors_in_a_cub_tree(file: str, line: str, message: str, cub_tree: Path) -> None:
    (cub_tree / "CUB_200_2011" / file).write_text(line)
    assert message in error_of(cub(cub_tree))
    (cub_tree / "CUB_200_2011" / file).unlink()
    assert f"{file}: no such file" in error_of(cub(cub_tree))


@pytest.mark.parametrize(("dataset", "archive"), [(voc, "VOCtrainval"), (cub, "CUB_200_2011.tgz")])
def test_a_missing_tree_says_what_to_unpack(dataset: Any, archive: str, tmp_path: Path) -> None:
    message = error_of(dataset(tmp_path))
    assert f"no folder {tmp_path}" in message
    assert archive in message


def test_options_that_do_not_go_with_files(cub_tree: Path) -> None:
    assert "dataset.mean=None: must be 3 numbers" in error_of(cub(cub_tree, mean=None, std=None))
    assert "dataset.mean=[0.0, 0.0, 0.0]: must be 1 numbers" in error_of(cub(cub_tree, channels=1))
    assert "must name the 3 classes" in error_of(cub(cub_tree, class_names=["bird"]))
    for dataset in (cub, voc):
        with pytest.raises(ConfigError, match=r"dataset\.cache=-1"):
            dataset(cub_tree, cache=-1)
