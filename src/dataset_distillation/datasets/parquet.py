"""The columns of a dataset in parquet files, as Hugging Face's hub has them: file names, labels, images."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_distillation.datasets.folders import NAMES, hidden
from dataset_distillation.errors import UserError, damaged, refuse
from dataset_distillation.files import opened

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile


LARGEST = 2**34  # bytes of a file; the hub's have half a gigabyte
MOST_ROWS = 100_000_000
ROWS = 256  # that are read at a time
LAYOUT = "expected files such as <path>/data/train-00000-of-00001.parquet"


def files_in(path: Path) -> list[Path]:
    """Return the parquet files in `path`, in order, without hidden ones."""
    return sorted(
        file for file in path.rglob("*.parquet") if not any(map(hidden, file.relative_to(path).parts))
    )


def parts(path: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return the files of each split in `path`, in order, and those of no split.

    The name of a file, or of a folder that it is in, begins with that of its split. If that is so for no
    file, all are those of `train`. Without files for testing those for validation are used for testing.
    """
    if not (files := files_in(path)):
        raise refuse("dataset.path", path, "no parquet file is in it", LAYOUT)
    found = defaultdict(list)
    for file in files:
        found[_split(file.relative_to(path))].append(file)
    others = found.pop(None, [])
    if not found:
        return {"train": others}, []
    for split, own in found.items():
        if len(folders := sorted({str(file.parent.relative_to(path)) for file in own})) > 1:
            text = f"files of {split} are in several folders: {', '.join(folders)}"
            raise refuse("dataset.path", path, text, f"set it to one, for example {path / folders[0]}")
    named = {str(split): own for split, own in found.items()}
    if "validation" in named and "test" not in named:
        named["test"] = named.pop("validation")
    return named, others


def _split(file: Path) -> str | None:
    for name in (file.stem, *reversed(file.parts[:-1])):
        first = re.split(r"[^a-z]", name.lower())[0]
        for split, names in NAMES.items():
            if first in names:
                return split
    return None


@contextmanager
def reading(file: Path) -> Iterator[ParquetFile]:
    """Open a parquet file. Raises FileError if it turns out to be none, or damaged, while it is used."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    with opened(file, LARGEST) as content:
        try:
            table = ParquetFile(content)
            if not 0 <= table.metadata.num_rows <= MOST_ROWS:
                raise ValueError(f"{table.metadata.num_rows:,} rows")
            yield table
        except (OSError, ValueError, NotImplementedError, pyarrow.ArrowException) as error:
            raise damaged(file, "a parquet file", error) from error


def labels(file: Path, column: str) -> list[Any]:
    """Return the labels, integers or texts. Raises UserError if there are none such."""
    from pyarrow.types import is_integer, is_large_string, is_string

    with reading(file) as table:
        kind = _column(table, file, "dataset.label_column", column)
        if not (is_integer(kind) or is_string(kind) or is_large_string(kind)):
            raise refuse("dataset.label_column", column, f"is {kind} in {file}: must be integers or texts")
        values: list[Any] = table.read([column]).column(0).to_pylist()
    if None in values:
        raise UserError(f"{file}: row {values.index(None)} has no {column}")
    return values


def names(file: Path, column: str) -> list[str]:
    """Return the names of the classes as the `datasets` library writes them into the file; or none."""
    with reading(file) as table:
        about = (table.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        found = json.loads(about)["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    texts = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return found if texts else []


def images(file: Path, column: str) -> Iterator[list[bytes | None]]:
    """Yield the encoded images, `ROWS` at a time; None where the file has only the path of an image."""
    import pyarrow

    with reading(file) as table:
        kind = _column(table, file, "dataset.image_column", column)
        struct = pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        encoded = kind.field("bytes").type if struct else kind
        if not (pyarrow.types.is_binary(encoded) or pyarrow.types.is_large_binary(encoded)):
            allowed = f"is {kind} in {file}: must be encoded images, in bytes"
            raise refuse("dataset.image_column", column, allowed)
        for batch in table.iter_batches(ROWS, columns=[column]):
            cells = batch.column(0).to_pylist()
            yield [cell and cell["bytes"] for cell in cells] if struct else cells


def _column(table: ParquetFile, file: Path, key: str, column: str) -> Any:
    schema = table.schema_arrow
    if column not in schema.names:
        raise refuse(key, column, f"no such column in {file}", f"its columns are {', '.join(schema.names)}")
    return schema.field(column).type
