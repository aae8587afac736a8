"""The files that torchvision's classes read, checked before they are read; CIFAR's pickles, read as data."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dataset_distillation.errors import NoFile, damaged
from dataset_distillation.files import opened, read

LARGEST = 2**30  # bytes of a file


_md5 = partial(hashlib.md5, usedforsecurity=False)


class Official(NamedTuple):
    """A file and its MD5, or None if torchvision names none."""

    path: Path
    md5: str | None = None

    def verify(self) -> None:
        """Raise FileError unless it is a regular file with its MD5."""
        with opened(self.path, LARGEST) as file:
            self._compare(hashlib.file_digest(file, _md5).hexdigest() if self.md5 else None)

    def read(self) -> bytes:
        """Return the content. Raises FileError as `verify` does."""
        content = read(self.path, LARGEST)
        self._compare(_md5(content).hexdigest())
        return content

    def _compare(self, md5: str | None) -> None:
        if self.md5 and md5 != self.md5:
            raise damaged(self.path, "the official file", f"its MD5 is not {self.md5}")


def files_of(source: Any, root: str, chosen: dict[str, Any]) -> Iterator[Official]:
    """Yield the files that `source` reads for the split that `chosen` names, as far as they are known."""
    from torchvision.datasets import CIFAR10, MNIST, SVHN, USPS

    if issubclass(source, CIFAR10):
        folder, lists = Path(root, source.base_folder), {True: source.train_list, False: source.test_list}
        yield from (Official(folder / name, md5) for name, md5 in lists[chosen.get("train", True)])
        yield Official(folder / source.meta["filename"], source.meta["md5"])
    elif issubclass(source, MNIST):  # no MD5 of the files that are read is known
        yield from map(Official, sorted(Path(root, source.__name__).glob("*/*")))
    elif issubclass(source, USPS | SVHN):
        split = chosen.get("split") or ("train" if chosen.get("train", True) else "test")
        _, name, md5, *_ = source.split_list[split]
        yield Official(Path(root, name), md5)


def refuse_odd(source: type, root: str, chosen: dict[str, Any]) -> None:
    """Raise FileError for a file that torchvision must not touch when it completes its files.

    It repairs those whose MD5 is another one, but for USPS, and would wait for a pipe or hash any size.
    """
    from torchvision.datasets import USPS

    for file in files_of(source, root, chosen):
        with suppress(NoFile):
            (file if issubclass(source, USPS) else Official(file.path)).verify()


def is_cifar(source: type) -> bool:
    from torchvision.datasets import CIFAR10

    return issubclass(source, CIFAR10)


@dataclass(frozen=True)
class Cifar:
    """A split of CIFAR10 or CIFAR100 with torchvision's attributes."""

    data: Any
    targets: list[int]
    classes: list[str]

    def __len__(self) -> int:
        return len(self.targets)


def cifar(source: Any, root: str, chosen: dict[str, Any]) -> Cifar:
    """Return the split of CIFAR10 or CIFAR100 that `chosen` names.

    torchvision unpickles its files, and a pickle may hold any code; here it may hold arrays alone.
    """
    import numpy as np

    *batches, about = (_unpickled(file) for file in files_of(source, root, chosen))
    try:
        images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = [label for batch in batches for label in batch.get("labels", batch.get("fine_labels"))]
        return Cifar(images, labels, about[source.meta["key"]])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(Path(root, source.base_folder), "batches of CIFAR", error) from error


def _unpickled(file: Official) -> Any:
    content = file.read()
    try:
        return _Arrays(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a pickle can fail in any way
        raise damaged(file.path, "a batch of CIFAR", error) from error


class _Arrays(pickle.Unpickler):
    """Reads what NumPy's arrays need, under its names in NumPy 1 and 2, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
        if (module.rpartition(".")[2], name) in allowed and module.partition(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not data")
