"""Every experiment runs, made tiny."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from omegaconf import DictConfig
from torchvision import models

from dataset_distillation import load_distilled
from dataset_distillation.architectures.convnet import ConvNet
from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.torchvision import TorchvisionDataset
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.errors import UserError
from dataset_distillation.experiment import compose
from dataset_distillation.init.pretrained import Pretrained
from support import trees
from support.command_line import distill, distill_evaluate
from support.experiments import CONF, TINY
from support.folders import result_of

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
#: The sizes that make an experiment tiny; its data, initialization, objective and so on stay its own.
#: A pool of seven networks, each trained on a twentieth of its source.
POOL = [
    "dataset.validation=0.95",
    "init.networks=1",
    "init.pool_size=2",
    "init.pretraining.epochs=1",
    "init.pretraining.folder=pools",
    "init.pretraining.workers=1",
]
SIZES = [option for option in TINY if option.startswith(("outer.", "evaluation.", "trainer.", "logger"))]


#: Table 3 with what is quick: VOC's twenty classes on a small network, AlexNet on three species of birds.
SMALLER = {
    "voc_alexnet": [
        "architecture=convnet",
        "architecture.width=8",
        "dataset.image_size=32",
        "init.fresh_layer='13'",
    ],
    "cub_alexnet": [],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLER)
def test_every_experiment_of_table_3_runs(name: str, tmp_path: Path) -> None:
    (trees.voc if name == "voc_alexnet" else trees.cub)(tmp_path)
    distilled = table_3(name, tmp_path, *SMALLER[name])
    assert distilled.images.shape == ((1, 20, 3, 32, 32) if SMALLER[name] else (1, 3, 3, 224, 224))


@pytest.mark.parametrize("name", SMALLER)
def test_table_3_runs_on_photographs(name: str, data_dir: Path, tmp_path: Path) -> None:
    """AlexNet at 224 pixels on the official trees, with 3.5 GB of memory."""
    tree, made, classes = {
        "voc_alexnet": ("VOCdevkit/VOC2007", trees.voc_photographs, 20),
        "cub_alexnet": ("CUB_200_2011", trees.cub_photographs, 3),
    }[name]
    if not (data_dir / tree).is_dir():
        pytest.skip(f"needs {tree} in DATA_DIR={data_dir}")
    made(data_dir, tmp_path)
    assert table_3(name, tmp_path).images.shape == (1, classes, 3, 224, 224)


def table_3(name: str, folder: Path, *smaller: str) -> DistilledSet:
    """An outer step on the data in `folder`, from weights in the form of the true ones, for 1,000 classes."""
    with torch.device("meta"):
        form = ConvNet(width=8).build((3, 32, 32), 1000) if smaller else models.AlexNet()
    generator = torch.Generator().manual_seed(0)
    state = {n: 0.02 * torch.randn(w.shape, generator=generator) for n, w in form.state_dict().items()}
    safetensors.torch.save_file(state, folder / "weights.safetensors")
    made = ["init.weights=null", f"init.path={folder}/weights.safetensors", f"dataset.root={folder}"]
    few = ["dataset.validation=0.5", "outer.steps=1", "outer.batch_size=2", "evaluation.validation_images=2"]
    ended = distill(f"experiment={name}", *SIZES, *smaller, *made, *few, "hydra.run.dir=run", folder=folder)
    (folder / "weights.safetensors").unlink()  # 244 MB
    assert ended.code == 0, ended.err
    distilled = load_distilled(folder / "run" / "distilled.safetensors")
    assert distilled.learning_rates.shape == (3, 1)
    assert distilled.images.isfinite().all()
    assert not distilled.initial_weights
    return distilled


#: The networks of later papers, and their recipes, take hours: less of everything.
CONVNET = [
    "architecture.width=4", "dataset.image_size=8", "distilled.inner_steps=3", "unroll.window=2",
    "unroll.stored=false",
]  # fmt: skip
RIVALS = [name for name in EXPERIMENTS if name.endswith("_matching")]  # nothing is distilled
OTHERS = [name for name in EXPERIMENTS if name not in (*SMALLER, *RIVALS)]


@pytest.mark.parametrize("name", RIVALS)
def test_the_experiments_of_later_methods_are_judged(name: str, tmp_path: Path) -> None:
    few = [
        "dataset=digits",
        "dataset.mean=[0.3]",
        "dataset.std=[0.3]",
        "architecture.width=4",
        "training.epochs=2",
        "evaluation.matching_steps=1",
    ]
    here = ["evaluation.networks=2", "logger=none", "trainer.threads=1", "hydra.run.dir=run"]
    ended = distill_evaluate(f"experiment={name}", *few, *here, folder=tmp_path)
    assert ended.code == 0, ended.err
    found = result_of(tmp_path / "run")["evaluation"]
    assert [row["method"] for row in found] == ["before_training", name]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if "_convnet_" in name else []) for name in OTHERS],
)
def test_every_experiment_runs(
    name: str, composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = compose.read(composed([f"experiment={name}"]))
    source = getattr(experiment.init, "source", None)
    monkeypatch.chdir(tmp_path)
    skip_without(experiment.dataset, source)
    pool = POOL if isinstance(experiment.init, Pretrained) else CONVNET if "_convnet_" in name else []
    if source:
        pool = [*pool, "init.source.validation=0.95"]
    ended = distill(
        f"experiment={name}", *SIZES, *pool, "hydra.mode=RUN", "hydra.run.dir=run", folder=tmp_path
    )
    assert ended.code == 0, ended.err
    result = result_of(tmp_path / "run")
    assert result["status"] == "finished"
    assert result["choices"]["experiment"] == name
    pictures = list((tmp_path / "run" / "images").glob("step_*.png"))
    assert len(pictures) == experiment.distilled.steps


def skip_without(*datasets: Dataset | None) -> None:
    """Skip the test, and say why, where files of the data sets are missing; nothing is downloaded."""
    for dataset in datasets:
        if isinstance(dataset, TorchvisionDataset):
            try:
                replace(dataset, download=False).read()
            except UserError as error:
                pytest.skip(str(error))
