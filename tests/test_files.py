"""The one place that opens the files of others, and the one that writes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from dataset_distillation import files
from dataset_distillation.errors import FileError, NoFile, UserError, printable, refuse, short


def test_a_regular_file_up_to_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert files.read(tmp_path / "file", 3) == b"abc"
    with pytest.raises(FileError, match="file: cannot be read: 3 bytes, and at most 2 are read"):
        files.read(tmp_path / "file", 2)
    with pytest.raises(NoFile, match="nothing: no such file"):
        files.read(tmp_path / "nothing", 2)


def test_nothing_else_is_read_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "pipe", tmp_path / "device", tmp_path / "loop", tmp_path, Path("a\0b")):
        with pytest.raises(FileError, match="cannot be read"):
            files.read(path, 100)


def test_no_file_stays_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
    test_nothing_else_is_read_nor_waited_for(tmp_path)
    assert len(os.listdir("/proc/self/fd") if before else []) == len(before)


def test_the_error_that_matters_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that has become read-only, the temporary file can neither be written nor removed."""

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    def busy(*_: object, **__: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(os, "fsync", read_only)
    monkeypatch.setattr(Path, "unlink", busy)
    with pytest.raises(UserError, match=r"cannot write .*file: Read-only file system"):
        files.write(tmp_path / "file", b"abc")


def test_a_message_is_one_line_that_any_terminal_shows() -> None:
    told = str(UserError("a\nb \x1b[31m \udcff \x85 é 数"))
    assert told == r"a\nb \x1b[31m \udcff \x85 é 数"
    assert printable(told) == told
    assert len(str(refuse("key", "x" * 10**6, "must be short"))) < 400
    assert short("\x00" * 10**6).startswith(r"\x00\x00")


def test_only_one_module_opens_files_for_reading() -> None:
    """Others would wait for pipes."""
    package = Path(files.__file__).parent
    calls = (r"\.read_bytes", r"\.read_text", r"(?<!def )(?<![\w.])open", r"Image\.open",
             r"(?<!safetensors\.)torch\.load", "load_file")  # fmt: skip
    opens = rf"({'|'.join(calls)})\("
    found = {path for path in package.rglob("*.py") if re.search(opens, path.read_text())}
    assert {str(path.relative_to(package)) for path in found} == {
        "files.py",
        "datasets/conversion.py",  # Pillow, on an opened file
        "networks/weights.py",  # torch, on an opened file
        "init/checkpoint.py",  # safetensors, behind an opened file
        "datasets/torchvision.py",  # /dev/null
        "kernels/build.py",  # of this package, and /proc/cpuinfo
        "experiment/choices.py", "report/paper.py",  # of this package
        "run/history.py",  # written by this process
        "run/provenance.py",  # /proc/cpuinfo
    }  # fmt: skip
