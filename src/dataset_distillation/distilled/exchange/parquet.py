"""Images and labels as the parquet file of a Hugging Face data set, and the card beside it."""

from __future__ import annotations

import html
import io
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.errors import UserError, damaged, install, printable
from dataset_distillation.files import opened
from dataset_distillation.networks.weights import LARGEST

LARGEST_UNPACKED = 2**31  # bytes
FILE = "data/train-00000-of-00001.parquet"


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        told = f"parquet files need pyarrow, which is not installed; {install('huggingface')}"
        raise UserError(told) from error
    return pyarrow


def rows(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Return a parquet file of one row per image: `image` as nested lists, `label`, `step`.

    images: (steps, n, channels, height, width). labels: (steps, n), or (steps, n, classes).
    """
    pa = _pyarrow()
    steps, n = images.shape[:2]
    column, label = (_nested(pa, array.reshape(steps * n, *array.shape[2:])) for array in (images, labels))
    step = pa.array(np.arange(steps).repeat(n))
    buffer = io.BytesIO()
    pa.parquet.write_table(pa.table({"image": column, "label": label, "step": step}), buffer)
    return buffer.getvalue()


def _nested(pa: Any, array: np.ndarray) -> Any:
    """Return an array (n, ...) as a column of lists of lists, without a copy for each number."""
    column = pa.array(array.reshape(-1))
    for size in array.shape[:0:-1]:
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def read(path: Path) -> tuple[Tensor, Tensor]:
    """Return the images and labels of a file of `rows`.

    Raises FileError, with a message of one line, for any other file.
    """
    pa = _pyarrow()
    with opened(path, LARGEST) as file:
        try:
            parts = pa.parquet.ParquetFile(file)
            groups = [parts.metadata.row_group(i) for i in range(parts.metadata.num_row_groups)]
            # Equal numbers that follow each other take almost no bytes in the file.
            numbers = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
            unpacked = max(8 * numbers, sum(group.total_byte_size for group in groups))
            if unpacked > LARGEST_UNPACKED:
                raise ValueError(f"it would unpack to more than {LARGEST_UNPACKED:,} bytes")
            table = parts.read(columns=["image", "label", "step"])
            images, labels = (_array(pa, table[name].combine_chunks()) for name in ("image", "label"))
            steps = table["step"].to_numpy()
            number = int(steps.max()) + 1
            once = number <= len(steps) and np.arange(number).repeat(len(steps) // number)
            if not np.array_equal(steps, once):
                raise ValueError("its steps are not 0, 0, ..., 1, 1, ... with as many images each")
        except (pa.ArrowException, ValueError, KeyError, TypeError, OSError, ZeroDivisionError) as error:
            raise damaged(path, "a parquet file of distilled images", error) from error
    return images.unflatten(0, (number, -1)), labels.unflatten(0, (number, -1))


def _array(pa: Any, column: Any) -> Tensor:
    shape = [len(column)]
    while pa.types.is_fixed_size_list(column.type):
        shape.append(column.type.list_size)
        column = column.flatten()
    if len(column) != np.prod(shape, dtype=object) or column.null_count:
        raise ValueError("its images and labels are not arrays of one shape")
    return torch.from_numpy(column.to_numpy(zero_copy_only=False).reshape(shape).copy())


def card(distilled: DistilledSet) -> str:
    """Return the card: what the set is, and how it is used."""
    data, rates = distilled.metadata, distilled.learning_rates
    steps, n = distilled.images.shape[:2]

    def told(key: str, otherwise: str) -> str:
        return html.escape(printable(str(data.get(key) or otherwise)), quote=False)

    names = ", ".join(html.escape(printable(name), quote=False) for name in data["class_names"][:100])
    kind = "classes" if distilled.labels.ndim == 2 else "one weight of the cross-entropy per class"
    overrides = data.get("overrides")
    zca = data.get("whitening")
    regularization = zca and zca["regularization"]
    whitened = f", then whitened (ZCA, regularization {regularization})" if zca else ""
    command = shlex.join(["distill", *map(str, overrides)]) if isinstance(overrides, list) else "not recorded"
    return f"""---
license: other
license_name: that-of-the-source-data-set
task_categories: [image-classification]
tags: [dataset-distillation]
---
# {n * steps} distilled images of {told("dataset", "a data set")}

Synthetic images that train a network in {distilled.batches.number} gradient steps; stored as {steps} × {n}.

- **Images** (`image`): floats, channels × height × width, normalized: (pixel − mean) / std with
  mean {data["mean"]} and std {data["std"]}{whitened}. They are not bound to the range of photographs.
- **Labels** (`label`): {kind}: {names}.
- **Order**: {told("order", "step by step")}. The column `step` says which images are stored together.
- **Learning rates**: `learning_rates` {tuple(rates.shape)} in `training.npz`, from {rates.min():.4g} to
  {rates.max():.4g}; `distilled.json` says what its dimensions are.
- **Made for**: {told("architecture", "")}, init {told("init", "random")};
  trained by {told("inner_optimizer", "")}.
- **License**: that of the data set that it was distilled from, which distilled images can show.
- **Command**: `{printable(command)}`

`distill-import <this folder> --output set.safetensors` makes an artifact of it again, to the same bits.
"""
