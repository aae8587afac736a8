"""distill-export: what comes back is the same set; what does not is said."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_distillation import files
from dataset_distillation.cli.exchange import export, read_and_write
from dataset_distillation.distilled.artifact import DistilledSet, load_distilled
from dataset_distillation.distilled.exchange import exported
from dataset_distillation.distilled.exchange.exported import how_to_use
from dataset_distillation.distilled.exchange.pictures import folder_names
from dataset_distillation.errors import ConfigError, UserError
from support.command_line import distill_export, distill_import

pyarrow = pytest.importorskip("pyarrow", reason="needs the extra huggingface")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra huggingface")

METADATA = {
    "order": "in order", "dataset": "CIFAR10", "class_names": ["a cat", "a/dog", "Ünïcode"],
    "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 1 / 3], "architecture": "mlp", "init": "fixed",
    "initial_weights_sha256": None, "objective": "standard", "loss": "cross_entropy",
    "inner_optimizer": "momentum", "train_images": 300, "config": {"seed": 7}, "choices": {}, "seed": 7,
    "overrides": ["experiment=demo"],
}  # fmt: skip


WHITENED = {
    "batches": {"number": 9, "size": 4, "random": True},
    "whitening": {"kind": "zca", "regularization": 0.1, "train_checksum": "0f"},
}


def made_in_batches(folder: Path) -> Path:
    """Write a set of twelve images, of which nine steps draw four each at one rate, with its matrix."""
    draw = torch.Generator().manual_seed(0)
    images, plain = torch.randn(2, 2, 6, 3, 5, 5, generator=draw)
    labels, rates = torch.arange(3).repeat(2, 2), torch.full((1, 1), 0.02)
    matrix = {"mean": torch.randn(75, generator=draw), "matrix": torch.randn(75, 75, generator=draw)}
    DistilledSet(images, labels, rates, {}, METADATA | WHITENED, plain, matrix).save(
        folder / "set.safetensors"
    )
    return folder / "set.safetensors"


def made(folder: Path, learned: bool = False, kind: torch.dtype = torch.float32) -> Path:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, 6, 3, 5, 5, generator=draw).to(kind)
    labels = torch.randn(2, 6, 3, generator=draw) if learned else torch.arange(3).repeat(2, 2)
    rates = torch.rand(4, 2, generator=draw) + 0.01
    initial = {"1.weight": torch.randn(3, 75, generator=draw), "1.bias": torch.zeros(3)}
    DistilledSet(images, labels, rates, initial, METADATA).save(folder / "set.safetensors")
    return folder / "set.safetensors"


def assert_same(one: DistilledSet, other: DistilledSet) -> None:
    for name in ("images", "labels", "learning_rates"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs), name
    assert one.initial_weights.keys() == other.initial_weights.keys()
    assert all(torch.equal(one.initial_weights[n], w) for n, w in other.initial_weights.items())
    assert one.metadata == other.metadata


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("to", ["npz", "pt", "huggingface"])
def test_what_is_imported_again_is_the_same_to_the_bit(to: str, learned: bool, tmp_path: Path) -> None:
    path = made(tmp_path, learned)
    files = export([str(path), "--to", to])
    assert all(Path(file).is_file() for file in files)
    source = tmp_path / f"set.{to}"
    read_and_write([str(source), "--output", str(tmp_path / "again.safetensors")])
    assert_same(load_distilled(path), load_distilled(tmp_path / "again.safetensors"))
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


@pytest.mark.parametrize("to", ["npz", "pt", "huggingface"])
def test_whitened_sets_in_batches_come_back_too(to: str, tmp_path: Path) -> None:
    path = made_in_batches(tmp_path)
    files = export([str(path), "--to", to])
    use = json.loads(Path(files[-1]).read_text())["how_to_use"]
    assert "learning_rates: one of each inner step, or one for all" in use
    assert any("plain_images" in line for line in use)
    read_and_write([str(tmp_path / f"set.{to}"), "--output", str(tmp_path / "again.safetensors")])
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_other_precisions_come_back_as_they_were(tmp_path: Path) -> None:
    path = made(tmp_path, kind=torch.float64)
    for to in ("npz", "huggingface"):
        export([str(path), "--to", to])
        read_and_write([str(tmp_path / f"set.{to}"), "--output", str(tmp_path / f"{to}.safetensors")])
        assert_same(load_distilled(path), load_distilled(tmp_path / f"{to}.safetensors"))


def test_names_are_text_in_the_card(tmp_path: Path) -> None:
    ours = load_distilled(made(tmp_path))
    ours.metadata["class_names"] = ["<script>", "a & b", "c"]
    ours.save(tmp_path / "set.safetensors")
    export([str(tmp_path / "set.safetensors"), "--to", "huggingface"])
    card = (tmp_path / "set.huggingface" / "README.md").read_text()
    assert "classes: &lt;script&gt;, a &amp; b, c." in card


def test_the_files_are_read_without_our_code(tmp_path: Path) -> None:
    path = made(tmp_path)
    ours = load_distilled(path)
    for to in ("npz", "pt", "huggingface"):
        export([str(path), "--to", to])
    arrays = np.load(tmp_path / "set.npz")
    np.testing.assert_array_equal(arrays["images"], ours.images.numpy())
    tensors = torch.load(tmp_path / "set.pt", weights_only=True)
    assert torch.equal(tensors["labels"], ours.labels)
    table = parquet.read_table(tmp_path / "set.huggingface" / "data")
    assert table.column_names == ["image", "label", "step"]
    np.testing.assert_array_equal(table["image"].to_pylist(), ours.images.flatten(0, 1).numpy())
    assert table["step"].to_pylist() == [0] * 6 + [1] * 6
    card = (tmp_path / "set.huggingface" / "README.md").read_text()
    for told in (
        "license: other",
        "[0.5, 0.4, 0.3]",
        "`distill experiment=demo`",
        "in order",
        "learning_rates",
    ):
        assert told in card
    use = json.loads((tmp_path / "set.json").read_text())["how_to_use"]
    assert "(pixel − mean) / std" in use[0]


def test_pictures_lose_what_is_outside_and_say_so(tmp_path: Path) -> None:
    path = made(tmp_path)
    pixels = load_distilled(path).pixels
    lost = ((pixels < 0) | (pixels > 1)).float().mean()
    lines = export([str(path), "--to", "images", "--output", str(tmp_path / "pictures")])
    assert lines[0].startswith(f"LOST: {lost:.1%} of the numbers lie outside [0, 1]")
    assert {f.name for f in (tmp_path / "pictures").iterdir() if f.is_dir()} == {"a cat", "a_dog", "Ünïcode"}
    picture = np.asarray(Image.open(tmp_path / "pictures" / "a_dog" / "step_00001_image_00004.png"))
    expected = (pixels[1, 4].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(picture, expected)


def test_pictures_come_back_as_far_as_8_bits_allow(tmp_path: Path) -> None:
    path = made(tmp_path)
    export([str(path), "--to", "images", "--output", str(tmp_path / "pictures")])
    use = json.loads((tmp_path / "pictures" / "how_to_use.json").read_text())["how_to_use"]
    assert use[0].startswith("PNG files of 8 bits")
    with pytest.raises(ConfigError, match="has pictures, which have lost too much to be the same set again"):
        read_and_write([str(tmp_path / "pictures"), "--output", str(tmp_path / "again.safetensors")])
    typed = [
        "--dataset",
        "cifar10",
        "dataset.image_size=5",
        "architecture=linear",
        "dataset.class_names=[a cat,'a/dog','Ünïcode']",
    ]
    read_and_write([str(tmp_path / "pictures"), *typed, "--output", str(tmp_path / "again.safetensors")])
    again, first = load_distilled(tmp_path / "again.safetensors"), load_distilled(path)
    assert again.labels.tolist() == [[0] * 4 + [1] * 4 + [2] * 4]
    in_order = first.pixels.flatten(0, 1)[first.labels.flatten().argsort(stable=True)]
    torch.testing.assert_close(again.pixels[0], in_order.clamp(0, 1), atol=0.002, rtol=0)


def test_folders_are_named_as_classes_where_these_are_names() -> None:
    assert folder_names(["0", "1"]) == ["0", "1"]
    assert folder_names(["..", "a"]) == ["00000", "00001 a"]
    assert folder_names(["a/b", "a:b"]) == ["00000 a_b", "00001 a_b"]
    assert folder_names(["Cat", "cat"]) == ["00000 Cat", "00001 cat"]


def damage(path: Path, to: str, how: str) -> Path:
    """Export, and change what came out."""
    export([str(path), "--to", to])
    source, beside = path.with_name(f"set.{to}"), path.with_name("set.json")
    if how == "json":
        beside.write_text("{}")
    elif how == "metadata":
        beside.write_text(json.dumps({"metadata": {**METADATA, "mean": "grey"}}))
    elif how == "list":
        beside.write_text("[" * 10_000)
    elif how == "classes":
        beside.write_text(json.dumps({"metadata": {**METADATA, "class_names": ["a", "b"]}}))
    elif how == "more":
        np.savez(source, **np.load(source), more=np.zeros(3))
    elif how == "lacking":
        np.savez(source, images=np.zeros((1, 1, 1, 1, 1)))
    elif how == "rates":
        np.savez(source, **{**np.load(source), "learning_rates": np.full((4, 2), -1, "float32")})
    elif how == "nan":
        np.savez(source, **{**np.load(source), "images": np.full((2, 6, 3, 5, 5), np.nan, "float32")})
    elif how == "pt":
        torch.save([1, 2], source)
    elif how == "parquet":
        (source / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1" * 9)
    elif how == "equal":
        zeros = pyarrow.array(np.zeros(10**8, "int8"))  # a tenth of a gigabyte each, and almost no bytes
        table = pyarrow.table({"image": zeros, "label": zeros, "step": zeros})
        parquet.write_table(table, source / "data" / "train-00000-of-00001.parquet")
    elif how in ("ragged", "steps", "columns"):
        table = {"image": [[1.0], [1.0, 2.0]] if how == "ragged" else [[1.0], [2.0]], "label": [0, 1]}
        table |= {"step": [10**10, 0]} if how == "steps" else {} if how == "columns" else {"step": [0, 0]}
        buffer = io.BytesIO()
        parquet.write_table(pyarrow.table(table), buffer)
        (source / "data" / "train-00000-of-00001.parquet").write_bytes(buffer.getvalue())
    return source


@pytest.mark.parametrize(
    ("to", "how"),
    [("npz", how) for how in ("json", "metadata", "list", "classes", "more", "lacking", "nan", "rates")]
    + [("pt", "pt")]
    + [("huggingface", how) for how in ("parquet", "ragged", "steps", "columns", "equal")],
)
def test_a_damaged_export_is_refused_in_one_line(to: str, how: str, tmp_path: Path) -> None:
    source = damage(made(tmp_path), to, how)
    ended = distill_import(source.name, "--output", "again.safetensors", folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1), ended
    assert "not a " in ended.err
    assert not (tmp_path / "again.safetensors").exists()


def test_what_the_json_says_about_the_artifact_is_not_taken_over(tmp_path: Path) -> None:
    export([str(made(tmp_path)), "--to", "npz"])
    told = json.loads((tmp_path / "set.json").read_text())
    told["metadata"] |= {"format": 99, "sha256": "0f"}
    (tmp_path / "set.json").write_text(json.dumps(told))
    assert distill_import("set.npz", "--output", "again.safetensors", folder=tmp_path).code == 0
    assert_same(load_distilled(tmp_path / "again.safetensors"), load_distilled(tmp_path / "set.safetensors"))


@pytest.mark.parametrize(
    ("typed", "code", "told"),
    [
        ("nowhere.safetensors --to npz", 2, "nowhere.safetensors: no such file"),
        ("set.safetensors --to tar", 2, "--to=tar: must be one of huggingface, images, npz, pt"),
        ("set.safetensors --to npz --output set.txt", 2, "--output=set.txt: must end with .npz"),
        ("set.safetensors --to pt --output set.safetensors", 2, "must end with .pt"),
        ("set.safetensors --to images --output .", 2, "--output=.: exists already"),
        (
            "set.safetensors --to npz --output result.npz",
            2,
            "result.npz: would replace result.json, which is",
        ),
        ("set.safetensors", 2, "the following arguments are required: --to"),
        ("set.safetensors --to npz --typo", 2, "unrecognized arguments: --typo"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(
    typed: str, code: int, told: str, tmp_path: Path
) -> None:
    made(tmp_path)
    (tmp_path / "result.json").write_text('{"status": "finished"}')
    ended = distill_export(*typed.split(), folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert told in ended.err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["result.json", "set.safetensors"]
    assert (tmp_path / "result.json").read_text() == '{"status": "finished"}'


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--labels nonsense no.such.key=1", "--labels=nonsense: the set is an export of distill-export"),
        ("--learning-rate 0.1", "--learning-rate=0.1: the set is an export"),
        ("--dataset cifar10", "--dataset=cifar10: the set is an export of distill-export, which says this"),
        ("--format ours no.such.key=1", "no.such.key=1: the set is an export"),
    ],
)
def test_an_export_of_ours_takes_no_options_of_others(typed: str, told: str, tmp_path: Path) -> None:
    export([str(made(tmp_path)), "--to", "npz"])
    ended = distill_import("set.npz", "--output", "again.safetensors", *typed.split(), folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert told in ended.err
    assert ended.err.endswith("; leave it out, or name another --format\n")
    assert not (tmp_path / "again.safetensors").exists()


def test_an_artifact_that_exists_is_not_replaced(tmp_path: Path) -> None:
    path = made(tmp_path)
    export([str(path), "--to", "npz"])
    before = path.read_bytes()
    ended = distill_import("set.npz", "--output", "set.safetensors", folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "--output=set.safetensors: exists already; remove it, or choose another" in ended.err
    assert path.read_bytes() == before


def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "training.npz":
            raise UserError(f"cannot write {path}: No space left on device")
        files.write(path, content)

    artifact = made(tmp_path)
    there = set(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(exported, "write", full)
        with pytest.raises(UserError, match="No space left"):
            exported.to_huggingface(load_distilled(artifact), tmp_path / "set")
    assert set(tmp_path.iterdir()) == there
    exported.to_huggingface(load_distilled(artifact), tmp_path / "set")


def test_the_scale_of_the_pixels_is_told(tmp_path: Path) -> None:
    distilled = load_distilled(made(tmp_path))
    assert how_to_use(distilled)[0].endswith("(pixel − mean) / std, pixels in [0, 1]")
    distilled.metadata["own_scale"] = True
    assert how_to_use(distilled)[0].endswith("pixels on the scale of the floats that the set was made of")
