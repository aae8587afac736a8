"""Any classification dataset of torchvision.datasets, by the name of its class."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_distillation.datasets import MOST_PIXELS, Dataset
from dataset_distillation.datasets.conversion import blank, channels_first, picture
from dataset_distillation.datasets.data import Raw, Split
from dataset_distillation.datasets.official import cifar, files_of, is_cifar, refuse_odd
from dataset_distillation.datasets.splits import cut, numbered
from dataset_distillation.errors import FileError, NoFile, UserError, count, refuse, short

if TYPE_CHECKING:
    from torch import Tensor


log = logging.getLogger(__name__)


@dataclass
class TorchvisionDataset(Dataset):
    """MNIST, CIFAR10, ...: read from `root`, and downloaded there first if necessary."""

    channels: int = 3
    image_size: int = count(32, most=MOST_PIXELS)
    root: str = "data"
    download: bool = True
    test: float | None = None
    # Arguments that choose the split. Empty: train=True/False or split=train/test, whichever the class has.
    train_arguments: dict[str, Any] = field(default_factory=dict)
    test_arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test is not None and not 0 < self.test < 1:
            raise refuse("dataset.test", self.test, "must lie between 0 and 1, or be null")

    def check(self) -> None:
        super().check()
        self._split_arguments(self._source())

    @property
    def folder(self) -> str:
        """The folder of the files; torchvision reads `~` as the home, too, and pathlib does not."""
        return os.path.expanduser(self.root)

    def known_names(self) -> list[str]:
        return list(vars(self._source()).get("classes", []))

    def read(self) -> Raw:
        import torch

        source = self._source()
        train, test = self._obtain(source, self._split_arguments(source))
        raw = Raw(self._images(train), self._images(test), [])
        raw = raw._replace(class_names=_class_names(train, raw.train[1]))
        if self.test is None:
            return raw
        images, labels = (torch.cat(both) for both in zip(raw.train, raw.test, strict=True))
        return cut(images, labels, self.test, raw.class_names)

    def test_split(self) -> tuple[Split, int, str]:
        if self.measured or self.test:  # the train set is needed for the mean, or for the test split
            return super().test_split()
        source = self._source()
        # MNIST checks that the files of both splits exist before it reads one of them.
        unchecked = {"_check_exists": lambda _: True} if hasattr(source, "_check_exists") else {}
        alone = type(source.__name__, (source,), unchecked)
        [test] = self._obtain(alone, self._split_arguments(source)[1:])
        images, labels = self._images(test)
        return self.alone(images, labels, _class_names(test, labels)), 0, ""

    def _source(self) -> type:
        import torchvision

        if self.name not in torchvision.datasets.__all__:
            raise refuse(
                "dataset.name",
                self.name,
                "no such class in torchvision.datasets",
                f"did you mean {_similar(self.name, torchvision.datasets.__all__)}?",
            )
        source: type = getattr(torchvision.datasets, self.name)
        return source

    def _obtain(self, source: type, arguments: list[dict[str, Any]]) -> list[Any]:
        """Return the splits that `arguments` choose, from the files in `root` or else from the network."""
        try:
            return [self._split(source, chosen) for chosen in arguments]
        except Exception as error:  # missing files, or files that another job of the sweep is unpacking
            first = error
            if not self.download or not _accepts(source, "download"):
                raise self._missing(error) from error
        try:
            self._download(source, arguments)
            return [self._split(source, chosen) for chosen in arguments]
        except Exception as error:
            there = isinstance(first, FileError) and not isinstance(first, NoFile)
            raise self._missing(first if there else error) from error

    def _split(self, source: type, chosen: dict[str, Any]) -> Any:
        if is_cifar(source):
            return cifar(source, self.folder, chosen)
        for file in files_of(source, self.folder, chosen):
            file.verify()
        return source(self.folder, **chosen)

    def _download(self, source: type, arguments: list[dict[str, Any]]) -> None:
        """Let torchvision unpack the archives in `root` and download the missing ones."""
        from filelock import FileLock

        log.info("%s: unpacking or downloading into %s", self.name, self.folder)
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        with (
            FileLock(Path(self.folder, f".{self.name}.lock")),
            open(os.devnull, "w") as silence,
            contextlib.redirect_stdout(silence),
            contextlib.redirect_stderr(silence),
        ):
            for chosen in arguments:
                refuse_odd(source, self.folder, chosen)
                source(self.folder, download=True, **chosen)

    def _split_arguments(self, source: type) -> list[dict[str, Any]]:
        if self.train_arguments or self.test_arguments:
            return [dict(self.train_arguments), dict(self.test_arguments)]
        if _accepts(source, "train"):
            return [{"train": True}, {"train": False}]
        if _accepts(source, "split"):
            return [{"split": "train"}, {"split": "test"}]
        raise refuse(
            "dataset.name",
            self.name,
            "has no train and test split in torchvision",
            "choose another, or arrange its images for dataset=image_folder",
        )

    def _missing(self, error: Exception) -> UserError:
        reason = short(" ".join(str(error).split())) or type(error).__name__
        return UserError(
            f"dataset {self.name}: not readable in {Path(self.folder).resolve()} ({reason}); put its files "
            "there or set DATA_DIR (or dataset.root) to where they are, or run with dataset.download=true "
            f"(now {str(self.download).lower()}) on a machine with network"
        )

    def _images(self, split: Any) -> tuple[Tensor, Tensor]:
        import torch

        images = getattr(split, "data", None)
        labels = torch.as_tensor(getattr(split, "targets", getattr(split, "labels", [])))
        if getattr(images, "ndim", 0) in (3, 4) and labels.ndim == 1 and len(labels) == len(split):
            return channels_first(images), labels.long()
        return self._decoded(split)

    def _decoded(self, split: Any) -> tuple[Tensor, Tensor]:
        """Decode PIL images one by one, for the datasets that keep their images in files."""
        import torch

        images = blank(len(split), self.channels, self.image_size)
        labels = torch.empty(len(split), dtype=torch.long)
        for index in range(len(split)):
            image, label = split[index]
            if not isinstance(label, int):
                raise refuse("dataset.name", self.name, "is not a set of images with one class each")
            images[index], labels[index] = picture(image, self.channels, self.image_size), label
        return images, labels


def _accepts(source: type, argument: str) -> bool:
    # QMNIST and others pass arguments on to their base class.
    return any(argument in inspect.signature(kind).parameters for kind in source.__mro__[:-1])


def _class_names(split: Any, labels: Tensor) -> list[str]:
    if names := getattr(split, "classes", None):
        return [name if isinstance(name, str) else ", ".join(name) for name in names]
    return numbered(type(split).__name__, labels)


def _similar(name: str, names: list[str]) -> str:
    lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.4) or ["mnist", "cifar10", "svhn"]
    return ", ".join(lower[candidate] for candidate in close)
