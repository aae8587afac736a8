"""Folders of photographs as people have them."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from dataset_distillation.datasets.folders import classes, files, trees
from dataset_distillation.datasets.image_folder import ImageFolder
from dataset_distillation.errors import ConfigError
from support.refusals import error_of

KNOWN = {"mean": [0.5] * 3, "std": [0.5] * 3, "image_size": 8}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Ten red images of a cat, ten blue ones of a dog, of unequal sizes and modes."""
    for name, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for index in range(10):
            image = Image.new("RGB", (20 + index, 12), colour)
            mode = ("RGB", "RGBA", "P")[index % 3]
            image.convert(mode).save(tmp_path / "tree" / name / f"{index}.png")
    return tmp_path / "tree"


def test_one_tree_is_split(tree: Path) -> None:
    given = {"mean": [0.5] * 3, "std": [0.5] * 3}
    data = ImageFolder(name="pets", path=str(tree), channels=3, image_size=8, **given).load(0)
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    assert data.specification.class_names == ("cat", "dog")
    assert torch.bincount(data.test.labels).tolist() == [2, 2]
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.images[:, 0, 0, 0] == 255, split.labels == 0)
        assert torch.equal(split.images[:, 2, 7, 7] == 255, split.labels == 1)


def test_train_and_test_folders_are_used(tree: Path) -> None:
    (tree.parent / "both").mkdir()
    for part in ("train", "test"):
        (tree.parent / "both" / part).symlink_to(tree)
    raw = ImageFolder(path=str(tree.parent / "both"), channels=1, image_size=8).read()
    assert len(raw.train[1]) == len(raw.test[1]) == 20
    assert raw.train[0].shape == (20, 1, 8, 8)
    assert raw.train[0][0].unique().tolist() == [76]  # red's luma
    given = {"mean": [0.5], "std": [0.5], "channels": 1, "image_size": 8}
    whole = ImageFolder(path=str(tree.parent / "both"), **given).load(0).test
    (tree.parent / "both" / "train").unlink()
    alone = ImageFolder(path=str(tree.parent / "both"), **given).load_test(0).test
    assert torch.equal(alone.labels, whole.labels)
    assert torch.equal(alone.images, whole.images)


def test_errors_of_image_folders(tree: Path) -> None:
    def message(path: Path = tree) -> str:
        return error_of(ImageFolder(path=str(path), channels=3, image_size=8))

    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        ImageFolder(path=str(tree / "nowhere"))
    assert "no class folder" in message(tree / "cat")
    (tree / "only" / "cat").mkdir(parents=True)
    assert "only one class folder, 'cat'" in message(tree / "only")
    assert f"{tree / 'only'}: a class without images" in message()
    (tree / "only" / "cat").rmdir()
    Image.new("RGB", (9, 9)).save(tree / "only" / "one.png")
    assert "class 'only' has fewer than 2 images" in message()
    (tree / "only" / "two.png").write_bytes((tree / "only" / "one.png").read_bytes()[:40])
    assert "1 of 22 images cannot be read: not of a known format: only/two.png; repair" in message()
    with pytest.raises(ConfigError, match=r"dataset\.test=2: must lie between 0 and 1"):
        ImageFolder(path="x", test=2)


def test_folders_without_one_for_training_are_for_judging_alone(tree: Path) -> None:
    (tree.parent / "parts").mkdir()
    for parts in ("test", "val and test"):
        (tree.parent / "parts" / parts.partition(" ")[0]).symlink_to(tree)
        pets = ImageFolder(path=str(tree.parent / "parts"), channels=3, image_size=8)
        assert pets.known_names() == ["cat", "dog"]
        for load in (pets.load, pets.load_test):
            with pytest.raises(ConfigError, match=f"parts: has a folder {parts} and none for training; add"):
                load(0)
        assert len(ImageFolder(path=pets.path, **KNOWN).load_test(0).test) == 20


def test_train_and_test_must_have_the_same_classes(tree: Path) -> None:
    (tree.parent / "both").mkdir()
    (tree.parent / "both" / "train").symlink_to(tree)
    for name in ("cat", "fox"):
        (tree.parent / "both" / "test" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tree.parent / "both" / "test" / name / "1.png")
    message = error_of(ImageFolder(path=str(tree.parent / "both"), channels=3, image_size=8))
    assert "only one has dog, fox" in message


def test_a_link_gives_no_class_the_images_of_another(tree: Path) -> None:
    def message() -> str:
        return error_of(ImageFolder(path=str(tree), channels=3, image_size=8))

    for target in (tree, tree.parent, tree / "dog", tree / "cat"):
        (link := tree / "dog" / "link").symlink_to(target, target_is_directory=True)
        assert "the same folder as" in message()
        assert message().endswith("; remove the link")
        link.unlink()
    # A folder elsewhere is nobody else's.
    (tree / "dog").rename(tree.parent / "elsewhere")
    (tree / "dog").symlink_to(tree.parent / "elsewhere")
    given = {"mean": [0.5] * 3, "std": [0.5] * 3, "channels": 3, "image_size": 8}
    assert len(ImageFolder(path=str(tree), **given).read().train[1]) == 16


def test_the_images_are_those_of_torchvision_in_its_order(tree: Path) -> None:
    from torchvision.datasets import ImageFolder as Theirs

    for name in ("a", "b/c", "B"):
        (tree / "cat" / name).mkdir(parents=True)
        for image in ("2.PNG", "10.jpg", "x.txt"):
            (tree / "cat" / name / image).touch()
    theirs = Theirs(str(tree), is_valid_file=lambda _: True, allow_empty=True)
    assert classes(tree) == theirs.classes
    assert list(files(tree, theirs.classes)) == theirs.samples


def test_a_name_in_another_encoding_is_shown_escaped(tree: Path) -> None:
    os.rename(tree / "cat", os.fsencode(tree) + b"/caf\xe9")
    given = {"mean": [0.5] * 3, "std": [0.5] * 3, "channels": 3, "image_size": 8}
    assert ImageFolder(path=str(tree), **given).load(0).specification.class_names == (r"caf\udce9", "dog")


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b""])
def test_only_formats_of_images_are_read(content: bytes, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would run a program, Ghostscript, for PostScript, whatever a file is called."""
    monkeypatch.setattr(subprocess, "Popen", None)
    (tree / "cat" / "0.png").write_bytes(content)
    told = error_of(ImageFolder(path=str(tree), **KNOWN))
    assert "1 of 20 images cannot be read: not of a known format: cat/0.png; repair or remove them" in told


def test_what_systems_leave_behind_is_ignored(tree: Path) -> None:
    before = ImageFolder(path=str(tree), **KNOWN).read()
    for folder in (".git", "__MACOSX", "cat/.cache", "cat/@eaDir"):
        (tree / folder).mkdir()
        (tree / folder / "9.png").write_bytes((tree / "dog" / "1.png").read_bytes())
    for name in ("._1.png", "Thumbs.db", "desktop.ini", ".DS_Store"):
        (tree / "cat" / name).write_bytes(b"of no concern")
    after = ImageFolder(path=str(tree), **KNOWN).read()
    assert after.class_names == ["cat", "dog"]
    assert torch.equal(after.train[0], before.train[0])


@pytest.fixture
def odd(tree: Path) -> Path:
    """Four of 24 images cannot be read, one name is no image's, and one image has no image's name."""
    sound = (tree / "cat" / "0.png").read_bytes()
    (tree / "cat" / "half.png").write_bytes(sound[: len(sound) - 30])
    (tree / "cat" / "empty.jpg").touch()
    (tree / "dog" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tree / "dog" / "gone.png").symlink_to("nowhere.png")
    (tree / "dog" / "notes.txt").write_text("on dogs")
    os.mkfifo(tree / "dog" / "pipe")
    (tree / "dog" / "9").write_bytes((tree / "dog" / "9.png").read_bytes())
    return tree


def test_unreadable_files_are_refused_all_at_once(odd: Path) -> None:
    told = error_of(ImageFolder(path=str(odd), **KNOWN))
    assert told.startswith("dataset tree: 4 of 25 images cannot be read: ")
    for reason in ("cut short: cat/half.png", "format: cat/empty.jpg, dog/photo.heic", "file: dog/gone.png"):
        assert reason in told
    assert told.endswith("; repair or remove them, or leave them out by dataset.on_error=skip")


def test_unreadable_files_are_left_out_and_counted(odd: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = ImageFolder(path=str(odd), on_error="skip", **KNOWN).load(0)
    assert data.skipped == 4
    assert sum(map(len, data.splits.values())) == 21
    sizes = "14 train, 2 validation, 5 test images of 2 classes; 4 files were left out"
    assert next(data.counts()) == sizes
    assert "2 files are no images: dog/notes.txt, dog/pipe" in caplog.messages
    for split in data.splits.values():
        assert torch.equal(split.images[:, 0, 0, 0] > 200, split.labels == 0)


def test_the_first_of_several_frames_is_used(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    red.save(tree / "cat" / "two.tiff", save_all=True, append_images=[blue])
    red.save(tree / "cat" / "two.gif", save_all=True, append_images=[blue])
    raw = ImageFolder(path=str(tree), **KNOWN).read()
    assert torch.cat([raw.train[0], raw.test[0]])[:, 0].flatten(1).amin(1).gt(250).sum() == 12
    assert "2 images have several frames, of which the first is used" in caplog.messages


@pytest.mark.parametrize(("names", "found"), [
    (["train", "test"], ["train", "test"]),
    (["Training", "Valid", "TESTING"], ["train", "validation", "test"]),
    (["train", "val"], ["train", "test"]),  # val is used for testing
    (["train"], ["train"]),
    (["test"], ["test"]),
    (["train", "val", "docs"], ["train", "test"]),
    (["train", "car"], None),  # two classes
    (["test", "exam"], None),
    (["val"], None),
])  # fmt: skip
def test_folders_of_splits(names: list[str], found: list[str] | None, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    parts = trees(tmp_path)
    assert sorted(parts) == sorted(found or ["train"])
    assert parts["train"] == tmp_path if found is None else tmp_path not in parts.values()


def test_a_folder_for_validation_is_the_validation_split(tree: Path) -> None:
    whole = tree.parent / "whole"
    for part, number in (("train", 6), ("valid", 3), ("test", 1)):
        for name in ("cat", "dog"):
            (whole / part / name).mkdir(parents=True)
            for index in range(number):
                (whole / part / name / f"{index}.png").symlink_to(tree / name / f"{index}.png")
    dataset = ImageFolder(path=str(whole), **KNOWN)
    data = dataset.load(0)
    assert [len(split) for split in data.splits.values()] == [12, 6, 2]
    assert len(dataset.identities().train) == 18  # a test image must be among none of them
    before = data.checksum
    (whole / "valid" / "cat" / "9.png").symlink_to(tree / "cat" / "9.png")
    assert dataset.load(0).checksum != before
    (whole / "training").mkdir()
    assert "train and training are folders of the same split" in error_of(dataset)


def test_what_is_not_read_is_said(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    parent = tree.parent / "parent"
    for part in ("train", "val", "docs"):
        (parent / part).parent.mkdir(exist_ok=True)
        (parent / part).symlink_to(tree)
    (tree / "loose.png").write_bytes((tree / "cat" / "0.png").read_bytes())
    caplog.set_level(logging.INFO)
    ImageFolder(path=str(parent), **KNOWN).load(0)
    told = " ".join(caplog.messages)
    assert "there is no folder for testing, so val is used for testing" in told
    assert "not read: docs, beside train, val" in told
    assert "in no class folder: loose.png" in told


def test_the_name_is_that_of_the_folder_unless_one_is_given(tree: Path) -> None:
    assert ImageFolder(path=f"{tree}/").title == "tree"
    assert ImageFolder(path=str(tree / "cat" / "..")).title == "tree"
    assert ImageFolder(path=str(tree), name="pets").title == "pets"
    assert ImageFolder(path=str(tree), channels=1).load(0).specification.name == "tree"  # and in the artifact
