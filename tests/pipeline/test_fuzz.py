"""One fuzz target per reader of the files of others: a right read, or one line that names the file."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset_distillation import load_distilled
from dataset_distillation.architectures.mlp import MLP
from dataset_distillation.datasets import official
from dataset_distillation.datasets.conversion import decoded
from dataset_distillation.datasets.digits import Digits
from dataset_distillation.datasets.image_files import lines
from dataset_distillation.errors import UserError
from dataset_distillation.evaluation.comparison import read_evaluation
from dataset_distillation.experiment import of_artifact
from dataset_distillation.init.checkpoint import Checkpoint
from dataset_distillation.outer import checkpoints
from dataset_distillation.pools.options import Pretraining
from dataset_distillation.pools.pool import Pool
from dataset_distillation.report import page
from dataset_distillation.run.history import History, read_history
from dataset_distillation.run.records import Confusion, Result, RunRecord, Status, Sweep, read
from dataset_distillation.sweep.jobs import jobs_of
from support.command_line import distill
from support.experiments import TINY
from support.mutations import changed, mutated

OPTIONS = [*TINY, "architecture=mlp", "distilled.steps=1", "outer.steps=3", "evaluation.validation_every=2"]
LIFE = {"updated": 1e9, "pid": 1, "host": "h"}
STATUS = {**LIFE, "overrides": ["seed=1"], "step": 3, "steps": 9, "steps_per_second": 2.0}
SWEEP = {**LIFE, "jobs": [["seed=1"], ["seed=2"]], "submitted": ["1_0"], "launcher": "x"}


class Target(NamedTuple):
    """A file by its name in the run folder, what reads it, and how it is changed, given a sound one."""

    name: str
    read: Callable[[Path], Any]
    change: Callable[[Path, random.Random], None]


def in_bytes(path: Path, draw: random.Random) -> None:
    path.write_bytes(mutated(path.read_bytes(), draw))


def in_values(path: Path, draw: random.Random) -> None:
    if draw.random() < 0.3:
        in_bytes(path, draw)
    else:
        path.write_text(json.dumps(changed(json.loads(path.read_text()), draw)))


def in_metadata(path: Path, draw: random.Random) -> None:
    """Sealed again, as a stranger would."""
    whole = load_distilled(path)
    path.write_bytes(replace(whole, metadata=changed(whole.metadata, draw)).content())


def in_checkpoint(path: Path, draw: random.Random) -> None:
    """Sealed again, with odd values of any kind."""
    content = io.BytesIO()
    torch.save(changed(torch.load(path, weights_only=True), draw), content)
    path.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())


def read_artifact(path: Path) -> None:
    metadata = load_distilled(path).metadata
    of_artifact._refuse_unknown_data(str(path), metadata, set())
    of_artifact.experiment(metadata, {})


def read_curves(path: Path) -> None:
    History(path.parent, done=2)
    read_history(path)


def read_pickle(path: Path) -> None:
    official._unpickled(official.Official(path))


def write_page(path: Path) -> None:
    page.write_run(path.parent)


def read_member(path: Path) -> None:
    kind = Pretraining(folder=str(path.parent))
    pool = Pool(MLP(), Digits(), kind, torch.device("cpu"))
    vars(pool)["folder"] = path.parent  # what it is made of is of no interest here
    assert pool._read("member") is None or path.read_bytes() == path.with_suffix(".whole").read_bytes()


TARGETS = [
    Target("result.json", lambda path: read(Result, path), in_values),
    Target("run.json", lambda path: read(RunRecord, path), in_values),
    Target("confusion.json", lambda path: read(Confusion, path), in_values),
    Target("status.json", lambda path: read(Status, path), in_values),
    Target("sweep.json", lambda path: (read(Sweep, path), jobs_of(path.parent)), in_values),
    Target("history.csv", read_curves, in_bytes),
    Target("evaluation.csv", read_evaluation, in_bytes),
    Target("distilled.safetensors", read_artifact, in_bytes),
    Target("distilled.safetensors", read_artifact, in_metadata),
    Target("checkpoints/step_00000003.ckpt", checkpoints.load, in_bytes),
    Target("checkpoints/step_00000003.ckpt", checkpoints.load, in_checkpoint),
    Target("images/real.png", lambda path: decoded(path, 3, 8), in_bytes),
    Target("member.safetensors", read_member, in_bytes),
    Target("weights.pt", lambda path: Checkpoint(path=str(path))._tensors, in_bytes),
    Target("weights.safetensors", lambda path: Checkpoint(path=str(path))._tensors, in_bytes),
    Target("test_batch", read_pickle, in_bytes),
    Target("images.txt", lines, in_bytes),
    # Everything together, as distill-report reads it; a page takes most of a second.
    Target("result.json", write_page, in_values),
    Target("history.csv", write_page, in_bytes),
    Target("evaluation.csv", write_page, in_bytes),
    Target("confusion.json", write_page, in_values),
    Target("distilled.safetensors", write_page, in_metadata),
]
IDS = [f"{number}-{target.name.rpartition('/')[2]}" for number, target in enumerate(TARGETS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, and beside its files those of all other readers."""
    folder = tmp_path_factory.mktemp("whole")
    ended = distill(*OPTIONS, "evaluation.baselines=[random_real]", "hydra.run.dir=run", folder=folder)
    assert ended.code == 0, ended.err
    run = folder / "run"
    (run / "status.json").write_text(json.dumps(STATUS))
    (run / "sweep.json").write_text(json.dumps(SWEEP))
    network = MLP().build((1, 28, 28), 10)
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    torch.save(weights, run / "weights.pt")
    safetensors.torch.save_file(weights, run / "weights.safetensors")
    about = {"accuracy": 0.5, "sha256": "0" * 64}
    safetensors.torch.save_file(weights, run / "member.safetensors", {"member": json.dumps(about)})
    shutil.copy(run / "member.safetensors", run / "member.whole")
    batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
    (run / "test_batch").write_bytes(pickle.dumps(batch, protocol=4))
    (run / "images.txt").write_text("1 a/b.jpg\n2 c/d.jpg\n")
    return run


def fuzz(target: Target, whole: Path, examples: int) -> None:
    path = whole / target.name
    sound = path.read_bytes()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,  # the processor's time is measured: a busy machine may stop a process for minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32))
    def one(seed: int) -> None:
        path.write_bytes(sound)
        target.change(path, random.Random(seed))
        told, began = str(path), time.process_time()
        try:
            target.read(path)
        except UserError as error:
            told = str(error)
        assert time.process_time() - began < 10
        assert str(path.parent) in told
        assert told.isprintable()
        assert len(told) < 1000

    try:
        one()
    finally:
        path.write_bytes(sound)


# pandas, Pillow and matplotlib warn of odd values.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS, ids=IDS)
def test_a_sample(target: Target, whole: Path) -> None:
    fuzz(target, whole, 1 if target.read is write_page else 8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS, ids=IDS)
def test_many(target: Target, whole: Path) -> None:
    fuzz(target, whole, 60 if target.read is write_page else 500)
