"""Which folders a run may write into: others hold what is somebody's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_distillation.errors import ConfigError
from dataset_distillation.run.folder import RUN_MARKS, SWEEP_MARKS, check_own, folder_of


def made(folder: Path, names: list[str]) -> Path:
    """`folder` with these files; a name that ends with / is a folder."""
    folder.mkdir()
    for name in names:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["run.json", "notes.txt"],
        ["status.json", ".hydra/"],
        ["result.json"],
        ["checkpoints/", "checkpoints/step_00000002.ckpt"],  # run.json is lost
        ["distill.log", ".hydra/"],  # killed at once
        [".status.json.0123456789abcdef"],  # another process begins
        ["slurm-7.out", "slurm-7.err"],  # of the shell that starts the run
    ],
)
def test_a_run_goes_into_an_empty_folder_or_one_of_a_run(names: list[str], tmp_path: Path) -> None:
    check_own("hydra.run.dir", made(tmp_path / "run", names), RUN_MARKS, ".hydra")
    check_own("hydra.run.dir", tmp_path / "new", RUN_MARKS, ".hydra")


@pytest.mark.parametrize(
    ("marks", "names"),
    [
        (RUN_MARKS, ["notes.txt"]),
        (RUN_MARKS, [".hydra/", "train.py"]),  # of another program
        (RUN_MARKS, ["usr/", "var/"]),
        (RUN_MARKS, ["sweep.json", "0/"]),
        (SWEEP_MARKS, ["run.json", "result.json"]),
        (SWEEP_MARKS, ["0/"]),
    ],
)
def test_nothing_goes_between_other_things(marks: tuple[str, ...], names: list[str], tmp_path: Path) -> None:
    folder = made(tmp_path / "home", names)
    with pytest.raises(ConfigError, match=r"hydra.run.dir=.*home: holds other things \("):
        check_own("hydra.run.dir", folder, marks, ".hydra")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only disk; whoever runs the tests may be allowed everything."""
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != tmp_path)
    with pytest.raises(ConfigError, match=rf"hydra.run.dir=.*run: {tmp_path} cannot be written"):
        check_own("hydra.run.dir", tmp_path / "deep" / "run", RUN_MARKS)
    check_own("hydra.run.dir", made(tmp_path / "other", []), RUN_MARKS)


def test_the_home_folder_has_another_name() -> None:
    with pytest.raises(ConfigError, match=r"hydra.run.dir=~/x: ~ stands for no folder .*=\$HOME/"):
        folder_of("hydra.run.dir", "~/x")


def test_a_multirun_goes_on_in_its_own_folder(tmp_path: Path) -> None:
    check_own("hydra.sweep.dir", made(tmp_path / "sweep", ["sweep.json", "0/", "notes"]), SWEEP_MARKS)
