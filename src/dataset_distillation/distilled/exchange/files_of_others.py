"""What torch, NumPy and HDF5 have saved, read without running code of the file or unpacking a bomb."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from dataset_distillation.errors import UserError, damaged, install
from dataset_distillation.files import opened
from dataset_distillation.networks.weights import LARGEST, plain, unpickled

MOST_NESTED = 100  # lists and dictionaries in each other


class _Ignored:
    """What stands for a NumPy scalar, as DC's files have them beside the images; nothing is computed."""

    def __init__(self, *_: object) -> None: ...
    def __setstate__(self, _: object) -> None: ...


#: The names under which NumPy 1 and 2 pickle a scalar.
_SCALARS = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


def saved_by_torch(path: Path) -> Any:
    """Return what `torch.save` has written to `path`.

    Raises FileError, with a message of one line, for any other file, for one that needs code, and for tensors
    that would be larger than the file.
    """
    with (
        opened(path, LARGEST) as file,
        torch.serialization.safe_globals([(_Ignored, name) for name in _SCALARS]),
    ):
        try:
            content = unpickled(file)
            size, sizes = file.seek(0, 2), {}
            for tensor in tensors_in(content):
                if not plain(tensor):
                    raise ValueError("it has a tensor that is not a plain one")
                if tensor.numel() * tensor.element_size() > size:
                    raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is larger than the file")
                # The same tensor may be there often, as in each epoch, but parts of it not in any number.
                sizes[tensor.data_ptr(), tensor.shape, tensor.stride()] = tensor.nbytes
            if sum(sizes.values()) > size:
                raise ValueError("its tensors together are larger than the file")
        except (ValueError, RecursionError) as error:
            reason = _reason(str(error), zipfile.is_zipfile(file))
            raise damaged(path, "a file of torch.save with tensors alone", reason) from error
    return content


def _reason(text: str, packed: bool) -> str:
    """Return the reason in one clause; what torch says of an unpacked file is of no use."""
    if code := re.search(r"GLOBAL ([\w.]+)", text):
        return f"it holds code, {code[1]}, and none is run"
    return text if packed else "it is no zip of torch.save, and no code of pickles is run"


def tensors_in(content: Any, depth: int = 0) -> Iterator[Tensor]:
    """Yield all tensors in lists, tuples and dictionaries. Raises ValueError if these are too deep."""
    if depth > MOST_NESTED:
        raise ValueError("it is nested too deeply")
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict | list | tuple):
        for child in content.values() if isinstance(content, dict) else content:
            yield from tensors_in(child, depth + 1)


def saved_by_numpy(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file by name.

    Raises FileError, with a message of one line, if it is none, has objects, or would need over 4 GiB.
    """
    with opened(path, LARGEST) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check_unpacked(file, sum(entry.file_size for entry in archive.infolist()))
                return {
                    entry.filename.removesuffix(".npy"): _array(archive, entry)
                    for entry in archive.infolist()
                }
        except Exception as error:  # zipfile raises BadZipFile, NotImplementedError, zlib.error and more
            raise damaged(path, "an npz file of plain arrays", error) from error


def _check_unpacked(file: BinaryIO, size: int) -> None:
    """Raise ValueError if so many bytes are not to be expected of the file's own."""
    # Images are hardly compressed to a hundredth, whatever the labels are.
    most = min(LARGEST, max(2**28, 100 * file.seek(0, 2)))
    if size > most:
        raise ValueError(f"it would unpack to more than {most:,} bytes")


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise ValueError(f"{entry.filename}: version {version} of NumPy's format")
        shape, fortran, kind = read[version](file)
        count = np.prod(shape, dtype=object) if shape else 1
        if kind.hasobject or count * kind.itemsize > entry.file_size:
            raise ValueError(
                f"{entry.filename}: shape {shape} of {kind} does not fit its {entry.file_size} bytes"
            )
        flat = np.frombuffer(file.read(count * kind.itemsize), kind)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def saved_by_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of numbers at the top of an HDF5 file, by name; all else in it is ignored.

    Raises FileError, with a message of one line, if it is none, if an array of it lies in another file, or if
    they would need over 4 GiB; UserError if h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"h5 files need h5py, which is not installed; {install('hdf5')}") from error
    with opened(path, LARGEST) as file:
        try:
            with h5py.File(file, "r") as content:
                links = {name: content.get(name, getlink=True) for name in content}
                # A link of another kind can lead to any file of this machine.
                own = [name for name, link in links.items() if isinstance(link, h5py.HardLink)]
                found = {name: content[name] for name in own if isinstance(content[name], h5py.Dataset)}
                if odd := next((n for n, a in found.items() if a.is_virtual or a.external), None):
                    raise ValueError(f"{odd} lies in another file")
                numbers = {name: array for name, array in found.items() if array.dtype.kind in "fiu"}
                _check_unpacked(file, sum(array.nbytes for array in numbers.values()))
                return {name: array[()] for name, array in numbers.items()}
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            raise damaged(path, "an HDF5 file of plain arrays", error) from error
