"""The layouts in which projects release their sets; `recognized` finds out which a file has.

They were read in the code of each project; of none of them a line is copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataset_distillation.datasets.conversion import blank, decoded
from dataset_distillation.distilled.exchange.files_of_others import (
    saved_by_hdf5,
    saved_by_numpy,
    saved_by_torch,
)
from dataset_distillation.distilled.exchange.found import Found, one_step, rate, tensor
from dataset_distillation.distilled.exchange.pictures import folder_names
from dataset_distillation.errors import FileError, NoFile, damaged, refuse

LARGEST = 2**30  # bytes of the steps of Wang et al.
HDF5 = (".h5", ".hdf5")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def dc(path: Path) -> Found:
    """DC, DSA, DM, DataDAM: `{"data": [[images, labels], ...]}`, one pair per run; the last run is taken."""
    content = saved_by_torch(path)
    runs = content.get("data") if isinstance(content, dict) else None
    if not isinstance(runs, list | tuple) or not runs:
        raise ValueError("no list of runs under 'data'")
    if _pair(runs):  # DataDAM
        return one_step(*runs)
    if not _pair(runs[-1]):
        raise ValueError("a run is not a pair of images and labels")
    note = f"it holds {len(runs)} runs; the last is taken" if len(runs) > 1 else "it holds one run"
    return one_step(*runs[-1], note)


def mtt(path: Path) -> Found:
    """MTT, TESLA, DATM, DD-Ranking: `images_best.pt`, `labels_best.pt` and perhaps `lr_best.pt`."""
    file = next((f for f in _named(path, "images") if f.is_file()), path) if path.is_dir() else path
    if "images" not in file.name:
        raise ValueError("its name has no 'images', so that nothing says which labels belong to it")
    labels, learned = (file.with_name(file.name.replace("images", name)) for name in ("labels", "lr"))
    rates = rate(saved_by_torch(learned)).view(1, 1) if learned.is_file() else None
    return one_step(saved_by_torch(file), saved_by_torch(labels), rates=rates)


def idc(path: Path) -> Found:
    """IDC, DREAM, NCFM: `data.pt` = `[images, labels]`, pixels of about [0, 1]."""
    content = saved_by_torch(path / "data.pt" if path.is_dir() else path)
    if not _pair(content):
        raise ValueError("not a pair of images and labels")
    return one_step(*content)


def dd(path: Path) -> Found:
    """Wang et al. (ssnl): `results.pth`, a list of (images, labels, learning rate), epoch after epoch."""
    content = saved_by_torch(path / "results.pth" if path.is_dir() else path)
    if not _triples(content):
        raise ValueError("not a list of (images, labels, learning rate)")
    images, labels = (
        [tensor(step[i], what) for step in content] for i, what in ((0, "images"), (1, "labels"))
    )
    if len({(i.shape, n.shape) for i, n in zip(images, labels, strict=True)}) != 1:
        raise ValueError("its steps differ in shape")
    if len(images) * images[0].nbytes > LARGEST:  # all of which are compared
        raise ValueError(f"its {len(images)} steps have more than {LARGEST:,} bytes")
    rates = torch.stack([rate(step[2]) for step in content])
    steps = _period(
        [hash((i.numpy().tobytes(), n.numpy().tobytes())) for i, n in zip(images, labels, strict=True)]
    )
    epochs = len(content) // steps
    note = f"it has {steps} steps × {epochs} epochs, with a learning rate each"
    one_step(images[0], labels[0])  # which checks the shapes
    return Found(
        torch.stack(images[:steps]), torch.stack(labels[:steps]), rates.view(epochs, steps), notes=(note,)
    )


def kip(path: Path) -> Found:
    """KIP and FRePo: npz with `images` or `image` (N, H, W, C), and `labels` or `label` (N, classes)."""
    arrays = saved_by_numpy(path)
    images, labels = (
        next((arrays[n] for n in (f"{name}s", name) if n in arrays), None) for name in ("image", "label")
    )
    if images is None or labels is None or images.ndim != 4:
        raise ValueError(f"it has the arrays {', '.join(sorted(arrays)[:9])}, not images and labels")
    kinds = {"f": "float32", "i": "int64", "u": "int64"}
    if odd := {images.dtype.kind, labels.dtype.kind} - kinds.keys():
        raise ValueError(f"its arrays are not numbers, but of kind {', '.join(sorted(odd))}")
    both = [torch.from_numpy(a.astype(kinds[a.dtype.kind])) for a in (images, labels)]
    last = both[0].shape[-1] in (1, 3)
    return one_step(both[0].permute(0, 3, 1, 2).contiguous() if last else both[0], both[1])


def rat_bptt(path: Path) -> Found:
    """RaT-BPTT, AT-BPTT: `data` (N, c·s·s) and perhaps `label` (N, classes), as HDF5 or in a checkpoint.

    A c of 1 or 3 and a whole s follow from c·s·s, since no square is three times another.
    """
    data, label = _of_hdf5(path) if path.suffix in HDF5 else _of_checkpoint(saved_by_torch(path))
    flat = tensor(data, "data")
    fits = [(c, math.isqrt(flat.shape[-1] // c)) for c in (1, 3)]
    shape = next(((c, s, s) for c, s in fits if flat.ndim == 2 and c * s * s == flat.shape[1] > 0), None)
    if shape is None:
        raise ValueError(f"its data of shape {tuple(flat.shape)} are no square images, one per row")
    images = flat.unflatten(1, shape)
    if label is None:
        note = "it has no labels: its images are in the order of the classes, as many of each"
        return Found(images[None], None, notes=(note,))
    return one_step(images, label)


def _of_hdf5(path: Path) -> tuple[Tensor | None, Tensor | None]:
    arrays = saved_by_hdf5(path)
    data, label = (
        torch.from_numpy(arrays[n].astype("float32")) if n in arrays else None for n in ("data", "label")
    )
    return data, label


def _of_checkpoint(content: Any) -> tuple[object, object]:
    if not _is_checkpoint(content):
        raise ValueError("no checkpoint with the weights module.data.weight")
    labels = content.get("label_state_dict")
    label = labels.get("module.label.weight") if isinstance(labels, dict) else None
    return content["model_state_dict"]["module.data.weight"], label


def _is_checkpoint(content: Any) -> bool:
    weights = content.get("model_state_dict") if isinstance(content, dict) else None
    return isinstance(weights, dict) and "module.data.weight" in weights


def lgm(path: Path) -> Found:
    """LGM: `data.pth` = `{"images": ..., "labels": ...}`."""
    content = saved_by_torch(path / "data.pth" if path.is_dir() else path)
    if not isinstance(content, dict) or not {"images", "labels"} <= content.keys():
        raise ValueError("no dictionary of images and labels")
    return one_step(content["images"], content["labels"])


def folder(path: Path, channels: int, size: int, class_names: Sequence[str]) -> Found:
    """SRe2L, CDA, RDED, `distill-export --to images`: a folder of 8-bit images per class.

    Folders that are named as the classes have their order; others the alphabetical one.
    Raises FileError naming what cannot be read.
    """
    if not path.is_dir():
        raise refuse("FILE", path, "is no folder", "--format images is one folder of images per class")
    folders = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))
    names = tuple(f.name for f in folders)
    if set(names) == set(folder_names(class_names)):
        names = tuple(folder_names(class_names))
    if class_names and len(names) != len(class_names):
        raise FileError(
            f"{path}: {len(names)} folders of images, and {len(class_names)} classes in the data set"
        )
    files = [(file, label) for label, name in enumerate(names) for file in _images(path / name)]
    if not files:
        raise FileError(f"{path}: no images in folders of classes")
    images = blank(len(files), channels, size)
    for place, (file, _) in enumerate(files):
        images[place] = decoded(file, channels, size)
    labels = torch.tensor([label for _, label in files])
    return one_step(images.float() / 255, labels, "its pixels have 8 bits")._replace(names=names)


def _images(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_file() and f.suffix.lower() in SUFFIXES)


#: The layouts that are one file, or files of fixed names in a folder.
READERS: dict[str, Callable[[Path], Found]] = {
    "dc": dc,
    "mtt": mtt,
    "datm": mtt,
    "idc": idc,
    "dd": dd,
    "kip": kip,
    "rat_bptt": rat_bptt,
    "lgm": lgm,
}


def read(path: Path, layout: str) -> Found:
    """Return what `path` holds in one of the READERS' layouts.

    Raises FileError, with a message of one line, if it cannot be read or has another layout.
    """
    try:
        return READERS[layout](path)
    except (ValueError, TypeError, RuntimeError) as error:
        raise damaged(path, f"a set in the layout {layout}", error) from error


def recognized(path: Path) -> str:
    """Return the layout of `path`. Raises FileError if it is none that is known."""
    if path.is_dir():
        return _recognized_folder(path)
    if not path.exists():
        raise NoFile(f"{path}: no such file")
    if path.suffix == ".npz":
        return "kip"
    if path.suffix in HDF5:
        return "rat_bptt"
    content = saved_by_torch(path)
    if isinstance(content, dict) and "data" in content:
        return "dc"
    if _is_checkpoint(content):
        return "rat_bptt"
    if isinstance(content, dict) and {"images", "labels"} <= content.keys():
        return "lgm"
    if _triples(content):
        return "dd"
    if _pair(content):
        return "idc"
    if isinstance(content, Tensor) and "images" in path.name:
        return "datm" if path.with_name(path.name.replace("images", "lr")).exists() else "mtt"
    raise FileError(
        f"{path}: has no layout that is known; say which by --format, or see distill-import --help"
    )


def _recognized_folder(path: Path) -> str:
    if any(f.is_file() for f in _named(path, "images")):
        return "datm" if any(f.is_file() for f in _named(path, "lr")) else "mtt"
    for name, layout in {"data.pt": "idc", "results.pth": "dd", "data.pth": "lgm"}.items():
        if (path / name).is_file():
            return layout
    return "images"


def _named(path: Path, what: str) -> tuple[Path, Path]:
    return path / f"{what}_best.pt", path / f"{what}.pt"


def _pair(content: Any) -> bool:
    return (
        isinstance(content, list | tuple)
        and len(content) == 2
        and all(isinstance(t, Tensor) for t in content)
    )


def _triples(content: Any) -> bool:
    return bool(
        isinstance(content, list | tuple)
        and content
        and all(
            isinstance(step, list | tuple) and len(step) == 3 and isinstance(step[0], Tensor)
            for step in content
        )
    )


def _period(marks: list[int]) -> int:
    """The number of steps after which the images repeat: every epoch passes over the same ones."""
    fits = (
        n for n in range(1, len(marks) + 1) if len(marks) % n == 0 and marks == marks[:n] * (len(marks) // n)
    )
    return next(fits)
