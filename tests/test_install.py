"""The wheel, on its own: what a user who never saw the checkout gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.experiments import CONF

ROOT = CONF.parent
CALL = "import sys; sys.argv[0] = 'distill'; from dataset_distillation.cli import distill; distill()"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # Of a copy: setuptools would leave build/ and an egg-info in the checkout.
    source.mkdir()
    for name in ("src", "conf", "results"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def python(code: str, *arguments: str, path: Path, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_wheel_holds_every_module_and_every_choice(unpacked: Path) -> None:
    package = unpacked / "dataset_distillation"
    for kind, source, target in (
        ("*.py", ROOT / "src" / "dataset_distillation", package),
        ("*.yaml", CONF, package / "conf"),
        ("templates/*", ROOT / "src" / "dataset_distillation", package),
        ("*.cpp", ROOT / "src" / "dataset_distillation", package),
        ("*.h", ROOT / "src" / "dataset_distillation", package),
    ):
        expected = {path.relative_to(source) for path in source.rglob(kind)}
        assert {path.relative_to(target) for path in target.rglob(kind)} - {
            Path("conf/__init__.py"),
            Path("results/__init__.py"),
        } == expected
    assert (package / "py.typed").exists()
    assert {"paper.yaml", "later.yaml"} <= {path.name for path in (package / "report").iterdir()}
    assert not (unpacked / "tests").exists()


def test_it_works_from_any_folder(unpacked: Path, tmp_path: Path) -> None:
    where = "import dataset_distillation; print(dataset_distillation.__file__)"
    assert python(where, path=unpacked, folder=tmp_path).startswith(str(unpacked))
    assert "mnist_random_100" in python(CALL, "--help", path=unpacked, folder=tmp_path)
    shown = python(CALL, "--cfg", "job", "experiment=demo", path=unpacked, folder=tmp_path)
    assert "  name: digits" in shown.splitlines()
    assert list(tmp_path.iterdir()) == []


def test_the_published_sets_come_with_it(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "from dataset_distillation import load_distilled; print(load_distilled('demo', seed=0).images.shape)"
    )
    assert python(code, path=unpacked, folder=tmp_path) == "torch.Size([1, 10, 1, 28, 28])\n"


def test_the_import_is_light(unpacked: Path, tmp_path: Path) -> None:
    loaded = python(
        "import sys, dataset_distillation; print(*sys.modules)", path=unpacked, folder=tmp_path
    ).split()
    assert "dataset_distillation" in loaded
    assert not {"torch", "hydra", "pytorch_lightning", "pandas"} & set(loaded)


def test_the_console_script_is_declared(unpacked: Path) -> None:
    [entry_points] = unpacked.glob("*.dist-info/entry_points.txt")
    declared = entry_points.read_text().splitlines()
    assert "distill = dataset_distillation.cli:distill" in declared
    assert "distill-report = dataset_distillation.cli:report" in declared
