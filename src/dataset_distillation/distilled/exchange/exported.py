"""An artifact as files that need none of our code: npz, pt, or a data set folder of Hugging Face; and back.

Beside the arrays stands a JSON file of how to use them, with the artifact's metadata. What is written is read
back to the same bits. Of bfloat16, which NumPy does not have, the numbers stay and the type becomes float32.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic_core import from_json
from torch import Tensor

from dataset_distillation.distilled import artifact
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.exchange import parquet
from dataset_distillation.distilled.exchange.files_of_others import saved_by_numpy, saved_by_torch
from dataset_distillation.errors import FileError, NoFile, UserError, damaged
from dataset_distillation.files import read, write, write_json

JSON = "distilled.json"  # of a folder; beside a file it has the file's name
LARGEST_JSON = 2**26  # bytes

NORMALIZED = "images (steps, n, channels, height, width) are normalized: (pixel − mean) / std, pixels "
USE = [
    "labels are classes (steps, n), or one weight of the cross-entropy per class (steps, n, classes)",
    "initial_weights, if there are any, are those of the one network that the set was made for",
    "normalize test images by the same mean and std",
]
USE_OF_WHITENED = [
    "images are whitened (ZCA) after they are normalized; plain_images are what they were before",
    "whiten test images, too: metadata.whitening names the regularization and the train split; "
    "whitening/mean and whitening/matrix are stored if that was asked for",
]
EPOCHS = "learning_rates (epochs, steps): for each epoch, for each step: one gradient step on all its images"


def how_to_use(distilled: DistilledSet) -> list[str]:
    """Say what the arrays mean and in which order they train a network."""
    by_epoch = distilled.learning_rates.shape[1] == len(distilled.images) and distilled.batches.size is None
    rates = EPOCHS if by_epoch else "learning_rates: one of each inner step, or one for all"
    order = [f"order of the steps: {distilled.metadata['order']}"] if "order" in distilled.metadata else []
    whitened = [] if distilled.plain_images is None else USE_OF_WHITENED
    own = distilled.metadata.get("own_scale", False)
    scale = "on the scale of the floats that the set was made of" if own else "in [0, 1]"
    return [NORMALIZED + scale, *USE, *whitened, rates, *order]


def to_npz(distilled: DistilledSet, path: Path) -> list[Path]:
    """Write plain arrays, and the JSON beside them; return the files."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: _numpy(tensor) for name, tensor in distilled.tensors.items()})  # type: ignore[arg-type]
    write(path, buffer.getvalue())
    return [path, described(distilled, path.with_suffix(".json"))]


def to_pt(distilled: DistilledSet, path: Path) -> list[Path]:
    """Write a dictionary of tensors, as torch.save does, and the JSON beside it; return the files."""
    buffer = io.BytesIO()
    torch.save(distilled.tensors, buffer)
    write(path, buffer.getvalue())
    return [path, described(distilled, path.with_suffix(".json"))]


def to_huggingface(distilled: DistilledSet, path: Path) -> list[Path]:
    """Write a folder: images and labels as parquet, a card, the JSON, and the other tensors as npz."""
    rest = {name: _numpy(tensor) for name, tensor in distilled.tensors.items()}
    both = rest.pop("images"), rest.pop("labels")
    buffer = io.BytesIO()
    np.savez(buffer, **rest)  # type: ignore[arg-type]
    contents = {
        path / parquet.FILE: parquet.rows(*both),
        path / "training.npz": buffer.getvalue(),
        path / "README.md": parquet.card(distilled).encode(),
    }
    try:
        for file, content in contents.items():
            write(file, content)
        return [*contents, described(distilled, path / JSON)]
    except UserError:  # no half of an export stays, beside which another is refused
        for file in contents:
            file.unlink(missing_ok=True)
        for folder in ((path / parquet.FILE).parent, path):
            with contextlib.suppress(OSError):  # it holds other things, or was never made
                folder.rmdir()
        raise


def described(distilled: DistilledSet, path: Path, how: Sequence[str] = ()) -> Path:
    """Write how to use the arrays, or what is said of them in `how`, and the metadata."""
    write_json(path, _description(distilled, how))
    return path


def _description(distilled: DistilledSet, how: Sequence[str] = ()) -> dict[str, Any]:
    own = {name: value for name, value in distilled.metadata.items() if name != "config"}
    return {
        "made_by": "dataset-distillation",
        "how_to_use": how or how_to_use(distilled),
        "metadata": {**own, "config": distilled.metadata["config"]},
    }


def other_beside(distilled: DistilledSet, path: Path) -> Path | None:
    """Return the JSON file beside `path` if there is one that does not describe this set."""
    beside = path.with_suffix(".json")
    try:
        same = from_json(read(beside, LARGEST_JSON)) == _description(distilled)
    except NoFile:
        return None
    except (FileError, ValueError):  # such as the result of a run
        same = False
    return None if same else beside


def _numpy(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def json_of(path: Path) -> Path | None:
    """Return the JSON file beside an export of ours, if there is one."""
    beside = path / JSON if path.is_dir() else path.with_suffix(".json")
    return beside if path.suffix != ".json" and beside.is_file() else None


def read_back(path: Path) -> DistilledSet:
    """Return the set that one of this module's functions has written to `path`.

    Raises FileError, with a message of one line, if it cannot be read or its parts do not fit each other.
    """
    if (beside := json_of(path)) is None:
        raise FileError(f"{path}: no export of distill-export (there is no JSON file beside it)")
    try:
        content = from_json(read(beside, LARGEST_JSON))
        if not isinstance(content, dict) or not isinstance(metadata := content.get("metadata"), dict):
            raise ValueError(f"{beside.name} has no metadata")
        artifact.check_metadata({**metadata, "format": artifact.FORMAT})
        return DistilledSet.of(_tensors(path), metadata)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, "a set of distill-export", error) from error


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.is_dir():
        images, labels = parquet.read(path / parquet.FILE)
        return {"images": images, "labels": labels, **_arrays(path / "training.npz")}
    if path.suffix == ".npz":
        return _arrays(path)
    content = saved_by_torch(path)
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ValueError("not a dictionary of tensors")
    return {str(name): tensor for name, tensor in content.items()}


def _arrays(path: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in saved_by_numpy(path).items()}


WRITERS: dict[str, Callable[[DistilledSet, Path], list[Path]]] = {
    "npz": to_npz, "pt": to_pt, "huggingface": to_huggingface,
}  # fmt: skip
