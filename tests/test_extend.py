"""A choice of each group is one file and one YAML, as CONTRIBUTING.md says: added to a copy, and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.experiments import CONF, TINY

SOURCE = CONF.parent / "src" / "dataset_distillation"
HEAD = "from dataclasses import dataclass\nimport torch\nfrom dataset_distillation."
#: For each group, its folder in src/ and the file that is added.
ADDED = {
    "dataset": (
        "datasets",
        """datasets import Dataset
from dataset_distillation.datasets.data import Raw
from dataset_distillation.datasets.splits import cut

@dataclass
class Mine(Dataset):
    name: str = "mine"
    channels: int = 1
    image_size: int = 8
    def read(self) -> Raw:
        labels = torch.arange(200) % 2
        images = (labels * 200).byte()[:, None, None, None].expand(-1, 1, 8, 8)
        return cut(images.clone(), labels, 0.2, ["dark", "bright"])
""",
    ),
    "architecture": (
        "architectures",
        """architectures import Architecture

@dataclass
class Mine(Architecture):
    def build(self, shape, classes):
        flat = shape[0] * shape[1] * shape[2]
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(flat, classes))
""",
    ),
    "init": (
        "init",
        """init.random import Random

@dataclass
class Mine(Random):
    def population(self, origin, purpose, number, step=0):
        networks = super().population(origin, purpose, number, step)
        return [{name: 0.5 * weight for name, weight in weights.items()} for weights in networks]
""",
    ),
    "objective": (
        "objectives",
        """objectives.standard import Standard

@dataclass
class Mine(Standard):
    pass
""",
    ),
    "inner_optimizer": (
        "inner_optimizers",
        """inner_optimizers.sgd import SGD

@dataclass
class Mine(SGD):
    def update(self, weight, gradient, state, learning_rate, t):
        return weight - learning_rate * gradient, state
""",
    ),
    "unroll": (
        "unroll",
        """unroll.recompute import Recompute

@dataclass
class Mine(Recompute):
    pass
""",
    ),
    "augmentation": (
        "augmentation",
        """augmentation import Augmentation

@dataclass
class Mine(Augmentation):
    numbers = 1
    def apply(self, images, draws):
        return images + 0.1 * draws[..., 0].reshape(-1, 1, 1, 1)
""",
    ),
    "logger": (
        "loggers",
        """loggers import Logger

@dataclass
class Mine(Logger):
    def open(self, folder, config, title):
        print("opened by mine")
        return []
""",
    ),
}


@pytest.mark.slow
def test_one_file_and_one_yaml_add_a_choice(tmp_path: Path) -> None:
    package = tmp_path / "dataset_distillation"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CONF, package / "conf")
    for group, (folder, text) in ADDED.items():
        (package / folder / "mine.py").write_text(HEAD + text)
        (package / "conf" / group / "mine.yaml").write_text(
            f"# {group} of mine\ndefaults:\n  - /schema/{group}/mine@_here_\n  - _self_\n"
        )
    chosen = [f"{group}=mine" for group in ADDED]
    asked = [word for word in TINY if word.partition("=")[0] not in ADDED]
    call = "import sys; sys.argv[0] = 'distill'; from dataset_distillation.cli import distill; distill()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", call, *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    ended = typed(*chosen, *asked, "hydra.run.dir=run")
    assert ended.returncode == 0, ended.stderr
    assert "opened by mine" in ended.stdout
    assert "test accuracy, mine" in ended.stdout
    assert typed("--help").stdout.count("of mine") == len(ADDED)
