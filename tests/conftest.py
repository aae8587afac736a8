"""The fixtures that several test files share: experiments as composed from the command line, and a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import DictConfig, open_dict

from dataset_distillation.experiment import compose
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.run.run import Run
from support.experiments import TINY


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """A shell starts what runs in the background deaf to it, and tests press it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Bits must depend neither on the cores of this machine nor on OMP_NUM_THREADS."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def composed() -> Iterator[Callable[[list[str]], DictConfig]]:
    """Composes a config as the command line does, without running it."""

    def composer(overrides: list[str]) -> DictConfig:
        compose.register()  # a test of distill-evaluate has registered another kind of experiment
        with hydra.initialize_config_module("dataset_distillation.conf", version_base="1.3"):
            composed = hydra.compose("config", overrides, return_hydra_config=False)
        with open_dict(composed):
            composed.pop("hydra", None)
        return composed

    return composer


@pytest.fixture(scope="session")
def experiment(composed: Callable[[list[str]], DictConfig]) -> Callable[..., Experiment]:
    """An experiment of a few seconds, changed by overrides."""
    return lambda *overrides: compose.read(composed([*TINY, *overrides]))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    choices = {group: "lenet" if group == "architecture" else "sgd" for group in compose.GROUPS}
    return Run(tmp_path, {"seed": 0}, choices | {"init": "random", "dataset": "digits"}, [])


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Where the real data sets are, or a skip that says so."""
    if not os.environ.get("DATA_DIR"):
        pytest.skip("needs real data sets: set DATA_DIR")
    return Path(os.environ["DATA_DIR"])
