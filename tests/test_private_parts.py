"""The private parts of libraries, used where there is no public way: each has a test of its name."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from torchvision.datasets import MNIST

PACKAGE = Path(__file__).parents[1] / "src" / "dataset_distillation"
PINNED = {"_batches_that_stepped", "_check_exists", "_C", "_AutoDispatchBelowAutograd", "_version"}


def private_parts() -> set[str]:
    """Attributes with a leading underscore that are not an own one of an object, and their names as text."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        own = {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_self(node.value)
        }
        own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        for node in ast.walk(tree):
            name = node.attr if isinstance(node, ast.Attribute) else None
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value.startswith("_check")
            ):
                name = node.value
            if name and name.startswith("_") and not name.startswith("__") and name not in own:
                found.add(name)
    return found


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_no_others_are_used() -> None:
    documented = {"_target_", "_replace", "_exit"}  # of Hydra's configs, named tuples and os
    assert private_parts() == PINNED | documented


def test_batches_that_stepped() -> None:
    """Lightning's restart in mid-epoch counts one step too many; `Checkpoints` puts that right."""
    trainer = pl.Trainer(
        logger=False,
        enable_checkpointing=False,
        accelerator="cpu",
        plugins=[LightningEnvironment()],  # looked for, SLURM's would warn where `srun` is installed
    )
    loop = trainer.fit_loop.epoch_loop
    assert loop._batches_that_stepped == 0
    assert loop.batch_progress.total.ready == 0


def test_check_exists() -> None:
    """MNIST wants the files of both splits; judging an artifact needs those of the test split alone."""
    assert callable(MNIST._check_exists)


def test_inductor() -> None:
    """A traced program is compiled without torch.compile, whose guards cost a tenth of a small step."""
    from torch._inductor import compile as compile_graph

    assert list(inspect.signature(compile_graph).parameters)[:2] == ["gm", "example_inputs"]


def test_below_autograd() -> None:
    """There is no public way past autograd's part of the dispatch; see linearized.py."""
    x = torch.ones(3, requires_grad=True)
    with torch._C._AutoDispatchBelowAutograd():
        assert not (2 * x).requires_grad
    assert (2 * x).requires_grad


def test_version() -> None:
    """What has been changed in place is no more what it was; see kernels/__init__.py."""
    x = torch.ones(3)
    before = x._version
    x += 1
    assert x._version > before
