"""Files that strangers send: each ends in one line with exit code 1 or 2, runs no code and leaves nothing."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from dataset_distillation.distilled.exchange.files_of_others import saved_by_torch
from dataset_distillation.errors import FileError
from support import layouts
from support.command_line import distill_import
from support.layouts import LABELS, images

Write = Callable[[Path], None]


class Bomb:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("exploded",)


def saved(content: Any, name: str = "set.pt", **how: Any) -> Write:
    return lambda folder: torch.save(content, folder / name, **how)


def written(content: bytes, name: str = "set.pt") -> Write:
    return lambda folder: folder.joinpath(name).write_bytes(content)


def of_mtt(pictures: object, labels: object = LABELS, rate: object = None) -> Write:
    def write(folder: Path) -> None:
        for name, content in {"images": pictures, "labels": labels, "lr": rate}.items():
            if content is not None:
                torch.save(content, folder / f"{name}_best.pt")

    return write


def with_value(value: float) -> Tensor:
    odd = images()
    odd[3, 1, 4, 4] = value
    return odd


def in_itself() -> list[Any]:
    content: list[Any] = []
    content.append(content)
    return content


def nested(depth: int) -> list[Any]:
    content: list[Any] = []
    for _ in range(depth):
        content = [content]
    return content


def pressed(folder: Path) -> None:
    """A file of torch.save whose parts are compressed: it might unpack to any size."""
    buffer = io.BytesIO()
    torch.save([torch.zeros(20, 3, 8, 8), LABELS], buffer)
    with zipfile.ZipFile(folder / "set.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in zipfile.ZipFile(buffer).infolist():
            packed.writestr(entry.filename, zipfile.ZipFile(buffer).read(entry))


def huge(folder: Path) -> None:
    """A gigabyte of pixels from one number, by strides of 0."""
    torch.save([torch.zeros(1).expand(100_000, 3, 32, 32), torch.zeros(100_000).long()], folder / "set.pt")


def views(folder: Path) -> None:
    """Gigabytes of steps that are overlapping parts of one small tensor."""
    numbers = torch.randn(2000 + images(10).numel())
    parts = [numbers[i : i + images(10).numel()].view(images(10).shape) for i in range(2000)]
    torch.save([(part, torch.arange(10), torch.tensor(0.1)) for part in parts], folder / "set.pt")


def squeezed(folder: Path) -> None:
    """A gigabyte of zeros in a file of a megabyte."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4194304, 8, 8, 1), }".ljust(117) + b"\n"
    with (
        zipfile.ZipFile(folder / "set.npz", "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("images.npy", "w") as entry,
    ):
        entry.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        for _ in range(64):
            entry.write(bytes(2**24))


def cut(folder: Path) -> None:
    whole = layouts.dc(folder)
    (folder / "set.pt").write_bytes(whole.read_bytes()[:-400])


def npz(
    shape: tuple[int, ...], kind: str = "<f4", content: bytes = b"", version: bytes = b"\x01\x00"
) -> Write:
    def write(folder: Path) -> None:
        header = (
            f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
        )
        array = b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + content
        with zipfile.ZipFile(folder / "set.npz", "w") as packed:
            packed.writestr("images.npy", array)
            packed.writestr("labels.npy", array)

    return write


def npz_bomb(folder: Path) -> None:
    """Entries that say that they unpack to 8 GB; only the directory is looked at."""
    npz((1,), content=bytes(4))(folder)
    content = bytearray((folder / "set.npz").read_bytes())
    for at in (i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02"):
        content[at + 24 : at + 28] = (2**32 - 2).to_bytes(4, "little")
    (folder / "set.npz").write_bytes(content)


def objects(folder: Path) -> None:
    np.savez(folder / "set.npz", images=np.array([Bomb()], dtype=object), labels=np.arange(1))


def sparse_file(folder: Path) -> None:
    with open(folder / "set.pt", "wb") as file:
        file.truncate(100 * 2**30)


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "set.pt")


def pictures(content: bytes) -> Write:
    def write(folder: Path) -> None:
        layouts.sre2l(folder / "set")
        (folder / "set" / "new003" / "class003_id000.png").write_bytes(content)

    return write


def hdf5(make: Callable[[Any, Path], object]) -> Write:
    def write(folder: Path) -> None:
        with h5py.File(folder / "other.h5", "w") as other:
            other.create_dataset("data", data=images().flatten(1).numpy())
        with h5py.File(folder / "set.h5", "w") as file:
            make(file, folder)

    return write


def linked(file: Any, folder: Path) -> None:
    file["data"] = h5py.ExternalLink(str(folder / "other.h5"), "data")


def virtual(file: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout((20, 192), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "data", (20, 192))
    file.create_virtual_dataset("data", layout)


def elsewhere(file: Any, folder: Path) -> None:
    """The bytes of another file as an array."""
    outside = [(str(folder / "other.h5"), 0, 20 * 192 * 4)]
    file.create_dataset("data", (20, 192), "f4", external=outside)


def rows_of_five(file: Any, _: Path) -> None:
    file.create_dataset("data", data=np.zeros((20, 5)))


def hollow(file: Any, _: Path) -> None:
    """An array of 300 TB of which nothing is written."""
    file.create_dataset("data", (10**11, 768), "f4", chunks=(10, 768))


def nine_folders(folder: Path) -> None:
    (layouts.sre2l(folder / "set") / "new009").rename(folder / "new009")


def vast_picture() -> bytes:
    """A PNG whose header says 60,000 × 60,000 pixels."""
    size = (60_000).to_bytes(4, "big")
    head = b"IHDR" + size + size + b"\x08\x02\x00\x00\x00"
    parts = (head, b"IDAT" + zlib.compress(bytes(100)))
    chunks = (
        (len(part) - 4).to_bytes(4, "big") + part + zlib.crc32(part).to_bytes(4, "big") for part in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def labels_are_a_folder(folder: Path) -> None:
    of_mtt(images(), None)(folder)
    (folder / "labels_best.pt").mkdir()


DC = {"accs_all_exps": {}}
STEP = (images(10), torch.arange(10), torch.tensor(0.1))
HOSTILE: dict[str, tuple[Write, str]] = {
    "code in torch.save": (saved(Bomb()), "set.pt"),
    "code beside the images": (saved({"data": [[images(), LABELS]], "accs_all_exps": Bomb()}), "set.pt"),
    "code in an old torch.save": (saved(Bomb(), _use_new_zipfile_serialization=False), "set.pt"),
    "code in a bare pickle": (written(pickle.dumps(Bomb())), "set.pt"),
    "a bare pickle of arrays": (written(pickle.dumps([np.zeros(3)])), "set.pt"),
    "a function of numpy": (saved({"data": [[images(), LABELS]], "accs": np.zeros(3)}), "set.pt"),
    "code as an array of objects": (objects, "set.npz"),
    "a compressed torch file": (pressed, "set.pt"),
    "a gigabyte of one number": (huge, "set.pt"),
    "an array of 4 TB": (npz((10**6, 10**3, 10**3)), "set.npz"),
    "an array of negative size": (npz((-5, 3, 8, 8)), "set.npz"),
    "an array of a later format": (npz((1,), version=b"\x09\x00"), "set.npz"),
    "an array of strings": (npz((20, 8, 8, 3), "<U1", bytes(20 * 8 * 8 * 3 * 4)), "set.npz"),
    "a bomb of 8 GB": (npz_bomb, "set.npz"),
    "a gigabyte of zeros": (squeezed, "set.npz"),
    "parts of one tensor": (views, "set.pt"),
    "a sparse file of 100 GB": (sparse_file, "set.pt"),
    "a pipe": (pipe, "set.pt"),
    "a device": (lambda _: None, "/dev/zero"),
    "nothing there": (lambda _: None, "set.pt"),
    "a name with escapes": (lambda _: None, "\x1b[31m\n.pt"),
    "an array in another HDF5 file": (hdf5(linked), "set.h5"),
    "an array of parts of another file": (hdf5(virtual), "set.h5"),
    "an array of another file's bytes": (hdf5(elsewhere), "set.h5"),
    "an array of 300 TB in a small file": (hdf5(hollow), "set.h5"),
    "a group instead of an array": (hdf5(lambda file, _: file.create_group("data")), "set.h5"),
    "an HDF5 file of texts": (hdf5(lambda file, _: file.create_dataset("data", data=["a"])), "set.h5"),
    "rows that are no square images": (hdf5(rows_of_five), "set.h5"),
    "a single number as data": (hdf5(lambda file, _: file.create_dataset("data", data=1.0)), "set.h5"),
    "no HDF5": (written(b"images and labels\n", "set.h5"), "set.h5"),
    "a checkpoint of a network": (saved({"model_state_dict": {"fc.weight": images()}}), "set.pt"),
    "an empty file": (written(b""), "set.pt"),
    "a text": (written(b"images and labels\n"), "set.pt"),
    "a text as npz": (written(b"PK images", "set.npz"), "set.npz"),
    "a file that was cut": (cut, "set.pt"),
    "an empty folder": (lambda folder: (folder / "set").mkdir(), "set"),
    "a list in itself": (saved(in_itself()), "set.pt"),
    "a list of lists of lists": (saved(nested(150)), "set.pt"),
    "no data": (saved(DC), "set.pt"),
    "no runs": (saved({**DC, "data": []}), "set.pt"),
    "a run of three": (saved({**DC, "data": [[images(), LABELS, LABELS]]}), "set.pt"),
    "data that are a number": (saved({**DC, "data": 7}), "set.pt"),
    "NaN": (of_mtt(with_value(float("nan"))), "."),
    "infinity": (of_mtt(with_value(float("inf"))), "."),
    "complex pixels": (of_mtt(images().to(torch.complex64)), "."),
    "boolean pixels": (of_mtt(images() > 0), "."),
    "sparse pixels": (of_mtt(images().relu().to_sparse()), "."),
    "pixels on no device": (of_mtt(images().to("meta")), "."),
    "flat images": (of_mtt(images().flatten(1)), "."),
    "no images": (of_mtt(images()[:0], LABELS[:0]), "."),
    "images that are a list": (of_mtt([1, 2, 3]), "."),
    "too many labels": (of_mtt(images(), torch.arange(10)), "."),
    "a class too many": (of_mtt(images(), LABELS + 1), "."),
    "a negative class": (of_mtt(images(), LABELS - 1), "."),
    "half a class": (of_mtt(images(), LABELS + 0.5), "."),
    "a class of 19 digits": (of_mtt(images(), LABELS + 2**62), "."),
    "probabilities of 9 classes": (of_mtt(images(), torch.full((20, 9), 1 / 9)), "."),
    "labels that are NaN": (of_mtt(images(), torch.full((20, 10), float("nan"))), "."),
    "no labels": (of_mtt(images(), None), "."),
    "labels that are a folder": (labels_are_a_folder, "."),
    "a negative rate": (of_mtt(images(), LABELS, torch.tensor(-0.1)), "."),
    "a rate that is NaN": (of_mtt(images(), LABELS, torch.tensor(float("nan"))), "."),
    "three rates": (of_mtt(images(), LABELS, torch.ones(3)), "."),
    "a rate that is a text": (of_mtt(images(), LABELS, "fast"), "."),
    "steps of several sizes": (saved([STEP, (images(9), torch.arange(9), torch.tensor(0.1))]), "set.pt"),
    "a step with a text": (saved([STEP, (images(10), torch.arange(10), "fast")]), "set.pt"),
    "a step without labels": (saved([(images(10), None, torch.tensor(0.1))]), "set.pt"),
    "a negative rate of a step": (saved([(images(10), torch.arange(10), torch.tensor(-1.0))]), "set.pt"),
    "nine folders of classes": (nine_folders, "set"),
    "a picture that was cut": (pictures(b"\x89PNG\r\n\x1a\n"), "set"),
    "a picture of text": (pictures(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "set"),
    "a picture of 3.6 gigapixels": (pictures(vast_picture()), "set"),
}  # fmt: skip


def test_code_is_named_and_not_run(tmp_path: Path) -> None:
    saved({"data": [[images(), LABELS]], "accs_all_exps": Bomb()})(tmp_path)
    ended = distill_import("set.pt", "--dataset", "cifar10", "--output", "out.safetensors", folder=tmp_path)
    assert ended.err == (
        "distill-import: set.pt: not a file of torch.save with tensors alone, or damaged "
        "(it holds code, posix.mkdir, and none is run)\n"
    )


@pytest.mark.parametrize("content", [pickle.dumps(["images"]), bytes(range(101, 250))])
def test_a_bare_pickle_is_told_in_one_line(content: bytes, tmp_path: Path) -> None:
    """torch warns of the one, and names the other's first byte as the reason."""
    written(content)(tmp_path)
    ended = distill_import("set.pt", "--dataset", "cifar10", "--output", "out.safetensors", folder=tmp_path)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "it is no zip of torch.save, and no code of pickles is run" in ended.err


def test_one_number_is_no_gigabyte_of_pixels(tmp_path: Path) -> None:
    huge(tmp_path)
    with pytest.raises(FileError, match=r"a tensor of shape \(100000, 3, 32, 32\) is larger than the file"):
        saved_by_torch(tmp_path / "set.pt")


@pytest.mark.filterwarnings("ignore:Sparse")  # torch's, about the file that the test itself writes
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_ends_in_one_line(what: str, tmp_path: Path) -> None:
    write, path = HOSTILE[what]
    write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    typed = [
        path,
        "--dataset",
        "cifar10",
        "dataset.image_size=8",
        "--zca",
        "none",
        "--output",
        "out.safetensors",
    ]
    ended = distill_import(*typed, folder=tmp_path)
    assert ended.code in (1, 2), ended
    assert ended.out == ""
    assert ended.err.startswith("distill-import: ")
    assert ended.err.count("\n") == 1
    assert ended.err[:-1].isprintable()
    assert len(ended.err) < 600
    assert sorted(tmp_path.rglob("*")) == before
