"""Folders of parquet files, written here with the metadata and the layouts that Hugging Face's hub has."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.huggingface import HuggingFace
from dataset_distillation.errors import ConfigError, UserError

pa = pytest.importorskip("pyarrow", reason="needs the extra huggingface")
parquet = pytest.importorskip("pyarrow.parquet")

SIZE = {"image_size": 8}


def encoded(index: int, label: int) -> bytes:
    """An image whose red is its number and whose green is its class."""
    file = io.BytesIO()
    Image.fromarray(np.full((9, 9, 3), (index, 100 * label, 255 - index), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def _loaded(dataset: Dataset) -> None:
    dataset.check()
    dataset.load(0)


def write(
    path: Path, labels: list[Any], *, names: list[str] | None = None, first: int = 0, **spoiled: Any
) -> None:
    """Images `first`, `first` + 1, ... with their labels; `spoiled` replaces columns."""
    numbers = [sorted({*labels}, key=str).index(label) for label in labels]
    cells = [{"bytes": encoded(first + i, n), "path": f"{i}.png"} for i, n in enumerate(numbers)]
    table = pa.table({"image": cells, "label": labels, **spoiled})
    if names:
        about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=7)


def error_of(dataset: Dataset) -> str:
    with pytest.raises(UserError) as raised:
        _loaded(dataset)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_shards_of_three_splits(tmp_path: Path) -> None:
    names = ["cat", "dog"]
    write(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1] * 10, names=names)
    write(tmp_path / "data" / "train-00001-of-00002.parquet", [0, 1] * 10, names=names, first=20)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", [0, 1] * 3, names=names, first=40)
    write(tmp_path / "data" / "test-00000-of-00001.parquet", [1, 0] * 2, names=names, first=50)
    dataset = HuggingFace(path=str(tmp_path), **SIZE)
    dataset.check()
    data = dataset.load(0)
    assert data.specification.class_names == ("cat", "dog")
    assert [split.images[:, 0, 0, 0].tolist() for split in data.splits.values()] == [
        list(range(40)), list(range(40, 46)), list(range(50, 54)),
    ]  # fmt: skip
    for split in data.splits.values():
        assert torch.equal(split.images[:, 1, 7, 7] == 100, split.labels == 1)
    known = HuggingFace(path=str(tmp_path), mean=[0.5] * 3, std=[0.5] * 3, **SIZE)
    assert torch.equal(known.load_test(0).test.images, data.test.images)


def test_texts_and_gaps_as_labels_and_columns_of_other_names(tmp_path: Path) -> None:
    """One file of no split: a share is cut for testing. Names are those of all values, in order."""
    write(tmp_path / "words" / "0000.parquet", ["fox", "cat", "dog"] * 5)
    data = HuggingFace(path=str(tmp_path / "words"), validation=0.3, **SIZE).load(0)
    assert data.specification.class_names == ("cat", "dog", "fox")
    for split in data.splits.values():
        assert torch.equal(split.images[:, 1, 0, 0], 100 * split.labels.byte())
    write(tmp_path / "gaps" / "default" / "train" / "0000.parquet", [7, 30] * 5)
    table = parquet.read_table(tmp_path / "gaps" / "default" / "train" / "0000.parquet")
    renamed = table.rename_columns(["img", "fine"])
    parquet.write_table(renamed, tmp_path / "gaps" / "default" / "train" / "0000.parquet")
    columns = {"image_column": "img", "label_column": "fine"}
    odd = HuggingFace(path=str(tmp_path / "gaps"), validation=0.3, **columns, **SIZE)
    assert odd.load(0).specification.class_names == ("7", "30")
    assert "dataset.image_column=image: no such column" in error_of(
        HuggingFace(path=str(tmp_path / "gaps"), label_column="fine", **SIZE)
    )


def test_images_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cells = [{"bytes": encoded(i, i % 2), "path": None} for i in range(20)]
    cells[3], cells[5] = {"bytes": None, "path": "far/away.png"}, {"bytes": b"GIF89a", "path": None}
    write(tmp_path / "train.parquet", [0, 1] * 10, image=cells)
    told = error_of(HuggingFace(path=str(tmp_path), **SIZE))
    assert "2 of 20 images cannot be read: the file has no image in it" in told
    assert "at most a path: train.parquet row 3" in told
    data = HuggingFace(path=str(tmp_path), on_error="skip", **SIZE).load(0)
    assert (data.skipped, sum(map(len, data.splits.values()))) == (2, 18)


@pytest.mark.parametrize(("columns", "message"), [
    ({"label": [0.5] * 10}, "dataset.label_column=label: is double in .*: must be integers or texts"),
    ({"label": [0, None] * 5}, "row 1 has no label"),
    ({"label": [0, -1] * 5, "names": ["cat", "dog"]}, "label -1 names no class; -1 stands for a hidden"),
    ({"label": [0, 5] * 5, "names": ["cat", "dog"]}, "label 5 names no class"),
    ({"image": [[1, 2]] * 10}, "dataset.image_column=image: is list<.*: must be encoded images, in bytes"),
    ({"image": ["a.png"] * 10}, "must be encoded images, in bytes"),
])  # fmt: skip
def test_columns_that_are_no_images_or_labels(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    names = columns.pop("names", None)
    write(tmp_path / "train.parquet", [0, 1] * 5, names=names, **columns)
    with pytest.raises(UserError, match=message):
        HuggingFace(path=str(tmp_path), **SIZE).load(0)


def test_folders_that_are_no_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = HuggingFace(path=str(tmp_path), **SIZE)
    assert "no parquet file is in it; expected files such as" in error_of(dataset)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 but no more than that PAR1")
    assert "train.parquet: not a parquet file, or damaged" in error_of(dataset)
    for configuration in ("en", "fr"):
        write(tmp_path / configuration / "train.parquet", [0, 1] * 5)
    (tmp_path / "train.parquet").unlink()
    assert "files of train are in several folders: en, fr; set it to one" in error_of(dataset)
    assert "has files of test alone" in error_of(_only_test(tmp_path / "en"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"needs pyarrow, .*install 'dataset-distillation\[huggingface\]'"):
        dataset.check()


def _only_test(folder: Path) -> HuggingFace:
    (folder / "train.parquet").rename(folder / "test.parquet")
    return HuggingFace(path=str(folder), **SIZE)
