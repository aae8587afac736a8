"""A dataset of Hugging Face in a local folder of parquet files; nothing is downloaded."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from dataset_distillation.datasets import parquet
from dataset_distillation.datasets.data import MOST_CLASSES, Raw, Split
from dataset_distillation.datasets.photographs import Photo, Photographs, Photos, listed
from dataset_distillation.errors import FileError, UserError, install, refuse

log = logging.getLogger(__name__)


@dataclass
class HuggingFace(Photographs):
    """Parquet files in the folder `path`.

    Needs the extra `huggingface`. The name of a file, or of its folder, begins with that of its split, as for
    a folder of images. Images are in the files, encoded. Labels are the numbers of classes that the files
    name, or any integers or texts.

    image_column, label_column: the names of the columns.
    """

    layout = parquet.LAYOUT

    image_column: str = "image"
    label_column: str = "label"

    def check(self) -> None:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            allowed = "needs pyarrow, which is not installed"
            raise refuse("dataset", "huggingface", allowed, install("huggingface")) from error
        super().check()

    def known_names(self) -> list[str]:
        files = parquet.files_in(self.folder)
        return parquet.names(files[0], self.label_column) if files else []

    def read(self) -> Raw:
        files, others = parquet.parts(self.folder)
        if others:
            names = listed([file.name for file in others], 5)
            log.warning("%s: not read: %s, of no known split", self.folder, names)
        if "train" not in files:
            allowed = f"has files of {' and '.join(files)} alone"
            raise refuse("dataset.path", self.folder, allowed, parquet.LAYOUT)
        return self.raw(*self._photos(files))

    def test_split(self) -> tuple[Split, int, str]:
        files, _ = parquet.parts(self.folder)
        # Without names in the files those of the classes are the labels of all parts.
        if self.measured or "test" not in files or not self.known_names():
            return super().test_split()
        photos, names = self._photos({"test": files["test"]})
        test = self.developed(photos)["test"]
        return self.alone(*test.labeled, names), len(test.unreadable), ""

    def _photos(self, files: dict[str, list[Path]]) -> tuple[dict[str, Photos], list[str]]:
        """Return the encoded images of each part, and the names of the classes."""
        labels = {file: parquet.labels(file, self.label_column) for part in files.values() for file in part}
        if names := self.known_names():
            numbers: dict[Any, int] = {number: number for number in range(len(names))}
        else:
            found = sorted({label for own in labels.values() for label in own}, key=_order)
            numbers, names = {label: number for number, label in enumerate(found)}, list(map(str, found))
        if len(names) > MOST_CLASSES:
            allowed = f"has {len(names):,} different values: at most {MOST_CLASSES:,} classes are possible"
            raise refuse("dataset.label_column", self.label_column, allowed)
        for file, own in labels.items():
            if odd := {*own} - numbers.keys():
                label = f"{self.label_column} {min(odd, key=_order)!r} names no class"
                hidden = "; -1 stands for a hidden label: remove the files of this split" if -1 in odd else ""
                raise UserError(f"{file}: {label}{hidden}")
        return {
            part: Photos(
                sum(len(labels[file]) for file in own),
                self._chunks({file: [numbers[label] for label in labels[file]] for file in own}),
            )
            for part, own in files.items()
        }, names

    def _chunks(self, labels: dict[Path, list[int]]) -> Iterator[list[Photo]]:
        for file, own in labels.items():
            row = 0
            for cells in parquet.images(file, self.image_column):
                yield [
                    Photo(f"{file.name} row {row + i}", own[row + i], partial(_content, cell))
                    for i, cell in enumerate(cells)
                ]
                row += len(cells)


def _content(cell: bytes | None) -> AbstractContextManager[IO[bytes]]:
    if cell is None:
        raise FileError("a row: the file has no image in it, at most a path")
    return nullcontext(io.BytesIO(cell))


def _order(label: Any) -> tuple[bool, Any]:
    return isinstance(label, str), label
