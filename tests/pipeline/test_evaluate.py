"""distill-evaluate: an artifact as its run judged it, and otherwise; baselines alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

from dataset_distillation import load_distilled
from dataset_distillation.cli.pages import main as distill_report
from dataset_distillation.datasets.data import Data
from dataset_distillation.datasets.digits import Digits
from dataset_distillation.datasets.image_folder import ImageFolder
from dataset_distillation.datasets.torchvision import TorchvisionDataset
from dataset_distillation.errors import UserError
from dataset_distillation.experiment.tree import Evaluate, Experiment
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.objectives import Metric
from dataset_distillation.pipeline import evaluate
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.run.records import Result
from support.command_line import distill, distill_evaluate
from support.experiments import TINY
from support.folders import result_of

HERE = ["trainer.threads=1", "logger=none", "hydra.run.dir=judged"]


def made_page(folder: Path) -> str:
    return (folder / "report.html").read_text()


def run_of(init: str, folder: Path) -> Path:
    """A run, whose values are not those of conf/."""
    options = [f"init={init}", "seed=3", "architecture=mlp", "architecture.width=9"]
    ended = distill(*TINY, *options, "evaluation.networks=3", "hydra.run.dir=run", folder=folder)
    assert ended.code == 0, ended.err
    return folder / "run"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of("random", tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def made_for_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its networks are one that is known."""
    return run_of("fixed", tmp_path_factory.mktemp("fixed"))


@pytest.fixture(params=["made", "made_for_one"])
def either(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


def test_the_config_of_the_artifact_gives_the_numbers_of_its_run(either: Path, tmp_path: Path) -> None:
    asked = f"artifact={either / 'distilled.safetensors'}"
    ended = distill_evaluate(asked, *HERE, folder=tmp_path, pages=True)
    assert ended.code == 0, ended.err
    ours, theirs = (pandas.read_csv(folder / "evaluation.csv") for folder in (tmp_path / "judged", either))
    pandas.testing.assert_frame_equal(ours.drop(columns="seconds"), theirs.drop(columns="seconds"))
    judged = result_of(tmp_path / "judged")
    first = made_page(tmp_path / "judged")
    assert all(f'<section id="{name}">' in first for name in ("images", "table", "confusion", "cost"))
    assert "from the test split" in first
    (tmp_path / "judged" / "report.html").unlink()
    distill_report([str(tmp_path / "judged")])
    assert made_page(tmp_path / "judged") == first
    assert judged["config"]["architecture"] == {"weights": "xavier", "width": 9, "layers": 3}
    assert judged["storage"] == result_of(either)["storage"]
    assert judged["artifact"] == str(either / "distilled.safetensors")
    assert judged["provenance"]["command"].startswith("distill-evaluate artifact=")
    assert (tmp_path / "judged" / "distilled.safetensors").read_bytes() == (
        either / "distilled.safetensors"
    ).read_bytes()
    assert "storage: " in ended.out
    assert "chosen on the validation split" not in ended.out  # there was nothing to choose


def test_baselines_have_the_size_of_the_artifact(made: Path, tmp_path: Path) -> None:
    """Whatever the config says of another size."""
    rows = []
    for other in ([], ["distilled.images_per_class=3", "distilled.steps=4"]):
        folder = f"hydra.run.dir=judged{len(other)}"
        asked = [f"artifact={made / 'distilled.safetensors'}", "baselines=random_real", *other, *HERE[:2]]
        ended = distill_evaluate(*asked, folder, folder=tmp_path)
        assert ended.code == 0, ended.err
        rows.append(result_of(tmp_path / f"judged{len(other)}")["evaluation"][2] | {"seconds": 0})
    assert rows[0]["method"] == "random_real"
    assert rows[0] == rows[1]


def test_a_table_is_not_that_of_a_file_that_has_changed(made: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "distilled.safetensors"
    shutil.copy(made / "distilled.safetensors", artifact)
    asked = [f"artifact={artifact}", "evaluation.networks=1", *HERE]
    assert distill_evaluate(*asked, folder=tmp_path).code == 0
    assert "finished already" in distill_evaluate(*asked, folder=tmp_path).err
    before = result_of(tmp_path / "judged")
    distilled = load_distilled(artifact)
    replace(distilled, images=distilled.images + 1).save(artifact)
    ended = distill_evaluate(*asked, folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "is no longer the file that was judged in judged; set another hydra.run.dir" in ended.err
    assert result_of(tmp_path / "judged") == before


def test_rows_of_an_interrupted_table_are_not_those_of_a_file_that_has_changed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = tmp_path / "distilled.safetensors"
    shutil.copy(made / "distilled.safetensors", artifact)
    rows = tmp_path / "judged" / "evaluation.csv"
    told: list[tuple[bool, bool]] = []

    def stop(*_: Any, resumed: bool) -> None:
        told.append((resumed, rows.exists()))
        rows.touch()
        raise UserError("stopped")

    monkeypatch.setattr(evaluate, "_compare", stop)
    for change in (False, False, True):
        if change:
            distilled = load_distilled(artifact)
            replace(distilled, images=distilled.images + 1).save(artifact)
        assert distill_evaluate(f"artifact={artifact}", *HERE, folder=tmp_path).code == 1
    # Were they still there with the third, a fourth would take them for its own.
    assert told == [(False, False), (True, True), (False, False)]


def test_rows_of_an_interrupted_table_are_not_those_of_other_data(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder of images, say, that has been changed; nor are they kept if nobody knows."""
    told: list[bool] = []
    load = Digits.load_test
    checksums = iter(["a", "a", "b", "", ""])

    def stop(*_: Any, resumed: bool) -> None:
        told.append(resumed)
        raise UserError("stopped")

    def loaded(self: Digits, seed: int) -> Data:
        return replace(load(self, seed), checksum=next(checksums))

    monkeypatch.setattr(evaluate, "_compare", stop)
    monkeypatch.setattr(Digits, "load_test", loaded)
    asked = [f"artifact={made / 'distilled.safetensors'}", "evaluation.baselines=[]"]
    for _ in range(5):
        assert distill_evaluate(*asked, *HERE, folder=tmp_path).code == 1
    assert told == [False, True, False, False, False]


def test_another_seed_is_other_networks(made_for_one: Path, tmp_path: Path) -> None:
    asked = [
        f"artifact={made_for_one / 'distilled.safetensors'}",
        "seed=4",
        "init=random",
        "evaluation.networks=2",
    ]
    assert distill_evaluate(*asked, *HERE, folder=tmp_path).code == 0
    ours, theirs = (
        pandas.read_csv(folder / "evaluation.csv") for folder in (tmp_path / "judged", made_for_one)
    )
    assert len(ours) == 4
    assert not set(ours["loss"]) & set(theirs["loss"])


def test_a_known_network_judges_whatever_the_seed(either: Path, tmp_path: Path) -> None:
    """Unless other ones are asked for; what else was asked is said."""
    fixed = bool(load_distilled(either / "distilled.safetensors").initial_weights)
    asked = [f"artifact={either / 'distilled.safetensors'}", "seed=7", "evaluation.networks=2"]
    ended = distill_evaluate(*asked, *HERE, folder=tmp_path)
    assert ended.code == 0, ended.err
    ours, theirs = (pandas.read_csv(f / "evaluation.csv") for f in (tmp_path / "judged", either))
    told = "is judged on the one network that it was made for, whatever evaluation.networks and seed; init="
    assert (told in ended.err) == fixed
    assert (ours["loss"].tolist() == theirs["loss"].tolist()) == fixed
    assert len(ours) == (2 if fixed else 4)
    ended = distill_evaluate(*asked, "architecture=linear", *HERE[:-1], "hydra.run.dir=b", folder=tmp_path)
    assert ("and these have another architecture" in ended.err) == fixed


def test_other_architectures_are_a_table(made: Path, tmp_path: Path) -> None:
    """A group that is named takes its values from its file: the mlp is another than the artifact's."""
    asked = [f"artifact={made / 'distilled.safetensors'}", "-m", "architecture=linear,mlp", "init=random"]
    asked += [*HERE[:2], "evaluation.networks=2", "hydra.sweep.dir=matrix"]
    ended = distill_evaluate(*asked, folder=tmp_path, pages=True)
    assert ended.code == 0, ended.err
    assert made_page(tmp_path / "matrix").count('<td><a href="') == 2
    rows = pandas.read_csv(tmp_path / "matrix" / "sweep.csv")
    assert rows["architecture"].tolist() == ["linear", "mlp"]
    for job, mean in zip("01", rows["mean"], strict=True):
        judged = result_of(tmp_path / "matrix" / job)
        assert judged["evaluation"][1]["mean"] == mean
        assert judged["evaluation"][1]["networks"] == 2
    assert judged["config"]["architecture"]["width"] == 128
    assert judged["config"]["seed"] == 3


def test_other_data_are_told(tmp_path: Path) -> None:
    """Another seed makes another linear regression."""
    asked = [
        "dataset=linear_regression",
        "architecture=linear",
        "objective=regression",
        "distilled.labels=learned",
    ]
    ended = distill(*TINY, *asked, "dataset=linear_regression", "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended.err
    artifact = f"artifact={tmp_path / 'run' / 'distilled.safetensors'}"
    told = "was made from other data than the present linear_regression"
    assert told not in distill_evaluate(artifact, *HERE, folder=tmp_path).err
    assert told in distill_evaluate(artifact, *HERE[:-1], "hydra.run.dir=b", "seed=1", folder=tmp_path).err


def test_other_forms_of_the_data_are_told_in_one_line(made: Path, tmp_path: Path) -> None:
    artifact = f"artifact={made / 'distilled.safetensors'}"
    asked = [artifact, "dataset.border=2", "dataset.mean=[0.5]", "dataset.std=[0.5]", "init=random"]
    told = [
        line for line in distill_evaluate(*asked, *HERE, folder=tmp_path).err.splitlines() if "made" in line
    ]
    assert len(told) == 1
    assert "was made with dataset.border=0, dataset.mean=[0.30" in told[0]
    assert "; here: dataset.border=2, dataset.mean=[0.5], dataset.std=[0.5]" in told[0]


@pytest.fixture(scope="module")
def folder_of_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two classes with 20 images each, all different; and a run that was made from 80 % of each."""
    root = tmp_path_factory.mktemp("folder")
    draw = np.random.default_rng(0)
    for name in "ab":
        (root / "images" / name).mkdir(parents=True)
        for number in range(20):
            pixels = draw.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{number}.png")
    data = ["dataset=image_folder", f"dataset.path={root / 'images'}", "dataset.image_size=8"]
    small = ["dataset.channels=1", "architecture=linear", "dataset.validation=0.2"]
    ended = distill(*TINY, *data, *small, "evaluation.networks=0", "hydra.run.dir=run", folder=root)
    assert ended.code == 0, ended.err
    return root


def test_training_without_the_augmentation_of_the_distillation_is_told(tmp_path: Path) -> None:
    options = [*TINY, "architecture=mlp", "architecture.width=9", "augmentation=shift_rotate"]
    ordinary = ["training=dc", "training.epochs=1"]
    made = distill(*options, *ordinary, "hydra.run.dir=run", folder=tmp_path)
    assert made.code == 0
    assert "the images are made with augmentation=shift_rotate; here: training.augmentation=none" in made.err
    asked = ["artifact=run/distilled.safetensors", *ordinary, *HERE]
    ended = distill_evaluate(*asked, folder=tmp_path)
    [told] = [line for line in ended.err.splitlines() if "augmentation" in line]
    assert "was made with augmentation=shift_rotate; here: training.augmentation=none" in told
    remedy = told.rpartition("use ")[2]
    silent = distill_evaluate(*asked[:-1], remedy, "hydra.run.dir=again", folder=tmp_path)
    assert silent.code == 0
    assert "augmentation" not in silent.err


def test_a_run_that_trains_as_the_field_does_is_judged_so_again(tmp_path: Path) -> None:
    options = ["architecture=mlp", "architecture.width=9", "training=dc", "training.epochs=2"]
    rows = ["evaluation.architectures=[linear]", "evaluation.baselines=[random_real]"]
    assert distill(*TINY, *options, *rows, "hydra.run.dir=run", folder=tmp_path).code == 0
    asked = ["artifact=run/distilled.safetensors", *HERE]
    ended = distill_evaluate(*asked, folder=tmp_path)
    assert "was chosen by training=dc; here: training=ours; to have that, use training=dc" in ended.err
    again = distill_evaluate(*asked[:-1], *options[2:], *rows, "hydra.run.dir=again", folder=tmp_path)
    assert "was chosen by" not in again.err
    ours, made, other = (
        pandas.read_csv(tmp_path / name / "evaluation.csv").drop(columns="seconds")
        for name in ("again", "run", "judged")
    )
    pandas.testing.assert_frame_equal(ours, made)
    steps = made.groupby("method", sort=False)["steps"].unique().map(list).to_dict()
    # One batch holds all 20 images, so that an epoch is a step.
    assert steps == {"before_training": [0], "distilled": [2], "distilled_on_linear": [2], "random_real": [2]}
    assert not other[other["method"] == "distilled"].equals(made[made["method"] == "distilled"])


def test_test_images_that_were_trained_on_are_refused(folder_of_images: Path, tmp_path: Path) -> None:
    """Of the half that is cut for the test, those that were not in the fifth that was cut before."""
    root = folder_of_images
    asked = [f"artifact={root / 'run' / 'distilled.safetensors'}", "evaluation.networks=1", *HERE]
    assert distill_evaluate(*asked, folder=tmp_path).code == 0
    ended = distill_evaluate(*asked, "dataset.test=0.5", "hydra.run.dir=b", folder=tmp_path)
    options = {"channels": 1, "image_size": 8}
    splits = [ImageFolder(path=str(root / "images"), test=share, **options).splits() for share in (0.2, 0.5)]
    trained = {image.numpy().tobytes() for image in splits[0][0].pixels(slice(None))}
    seen = sum(image.numpy().tobytes() in trained for image in splits[1][1].pixels(slice(None)))
    assert 12 <= seen < 20
    assert ended.code == 2
    told = (
        f"dataset.test=0.5: the artifact was made from {seen} of 20 of these test images; use dataset.test="
    )
    assert told + "0.2" in ended.err
    allowed = [*asked, "dataset.test=0.5", "allow_seen=true", "hydra.run.dir=c"]
    ended = distill_evaluate(*allowed, folder=tmp_path)
    assert ended.code == 0, ended.err
    assert "was made with dataset.test=0.2; here: dataset.test=0.5" in ended.err


def test_images_that_were_added_since_are_told(folder_of_images: Path, tmp_path: Path) -> None:
    """The test images are cut from all, so that some of them were train images before."""
    shutil.copytree(folder_of_images / "images", tmp_path / "images")
    artifact = f"artifact={folder_of_images / 'run' / 'distilled.safetensors'}"
    asked = [artifact, f"dataset.path={tmp_path / 'images'}", "evaluation.networks=1", *HERE[:-1]]
    told = "was made from other data than the present images; test images may have been among those"
    ended = distill_evaluate(*asked, "hydra.run.dir=same", folder=tmp_path)
    assert (ended.code, told in ended.err) == (0, False)
    for name in "ab":
        shutil.copy(tmp_path / "images" / name / "0.png", tmp_path / "images" / name / "20.png")
    ended = distill_evaluate(*asked, "hydra.run.dir=more", folder=tmp_path)
    assert (ended.code, told in ended.err) == (0, True)


def test_another_folder_has_other_images(folder_of_images: Path, tmp_path: Path) -> None:
    """Of which none was trained on, wherever they are cut; where the same images were moved to, some were."""
    root, codes = folder_of_images, []
    shutil.copytree(root / "images", tmp_path / "moved")
    shutil.copytree(root / "images", tmp_path / "others")
    for path in (tmp_path / "others").glob("*/*.png"):
        ImageOps.invert(Image.open(path)).save(path)
    for name in ("moved", "others"):
        asked = [f"artifact={root / 'run' / 'distilled.safetensors'}", f"dataset.path={tmp_path / name}"]
        asked += ["dataset.test=0.5", "evaluation.networks=1", *HERE[:-1], f"hydra.run.dir={name}-judged"]
        codes.append(distill_evaluate(*asked, folder=tmp_path).code)
    assert codes == [2, 0]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], []),
        (["evaluation=quick"], ["random_real", "full_training"]),
        (["evaluation=quick", "baselines=[k_center]"], ["k_center"]),
        (["evaluation.baselines=[herding]"], ["herding"]),
    ],
)
def test_the_baselines_are_those_that_are_asked_for(
    asked: list[str], expected: list[str], made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Evaluate] = []
    ended = Result(status="finished", metrics=[Metric("accuracy")])
    monkeypatch.setattr(evaluate, "evaluate", lambda e, _: found.append(e) or ended)
    distill_evaluate(f"artifact={made / 'distilled.safetensors'}", *asked, *HERE, folder=tmp_path)
    assert found[0].evaluation.baselines == expected


@pytest.mark.parametrize(
    ("init", "needed"),
    [
        (["fixed_pretrained"], []),
        pytest.param(
            ["pretrained", "init.pool_size=1"], ["held-out-0", "held-out-1"], marks=pytest.mark.slow
        ),
    ],
)
def test_no_network_is_pretrained_that_does_not_judge(
    init: list[str], needed: list[str], tmp_path: Path
) -> None:
    """Elsewhere, with another folder of pools and other workers."""
    there, here = tmp_path / "there", tmp_path / "here"
    small = ["architecture=mlp", "architecture.width=9", "init.pretraining.epochs=1"]
    asked = [*TINY, f"init={init[0]}", *init[1:], *small, "init.pretraining.workers=1", "hydra.run.dir=run"]
    for folder in (there, here):
        folder.mkdir()
    assert distill(*asked, folder=there).code == 0
    artifact = there / "run" / "distilled.safetensors"
    ended = distill_evaluate(f"artifact={artifact}", *HERE, folder=here)
    assert ended.code == 0, ended.err
    assert sorted(path.stem for path in here.glob("pools/*/*.safetensors")) == needed
    ours, theirs = (pandas.read_csv(f / "evaluation.csv") for f in (here / "judged", there / "run"))
    pandas.testing.assert_frame_equal(ours.drop(columns="seconds"), theirs.drop(columns="seconds"))
    if init == ["fixed_pretrained"]:  # baselines are chosen for its θ0, too
        more = ["baselines=[average_real]", *HERE[:-1], "hydra.run.dir=more"]
        assert distill_evaluate(f"artifact={artifact}", *more, folder=here).code == 0
        assert not list(here.glob("pools/*/*.safetensors"))


def test_baselines_alone(tmp_path: Path) -> None:
    asked = [*TINY[:-2], "logger=none", "baselines=nearest_neighbour_random_real"]
    asked.remove("evaluation.baselines=[]")
    ended = distill_evaluate(*asked, "hydra.run.dir=judged", folder=tmp_path)
    assert ended.code == 0, ended.err
    judged = result_of(tmp_path / "judged")
    methods = [row["method"] for row in judged["evaluation"]]
    assert methods == ["before_training", "nearest_neighbour_random_real"]
    assert judged["evaluation"][1]["difference"] is None
    assert judged["storage"] is None
    assert "chosen on the validation split" in ended.out


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "artifact=null: there is nothing to evaluate; set its path, or baselines=all"),
        ("artifact=nowhere.safetensors", "nowhere.safetensors: no such file"),
        ("-m artifact=a.safetensors,b.safetensors", "artifact=a.safetensors,b.safetensors: must be one file"),
        ("baselines=k_medians", "evaluation.baselines=k_medians: must be one of all, average_real, "),
        ("baselines=all evaluation.selection=test", "evaluation.selection=test: must be one of paper, valid"),
        ("baselines=all training.batch_size=5", "training.batch_size=5: the learned rates belong to"),
        ("baselines=all evaluation=none", "evaluation.networks=0: must be greater than 0"),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_one_line(typed: str, told: str, tmp_path: Path) -> None:
    ended = distill_evaluate("dataset=digits", *typed.split(), folder=tmp_path)
    assert (ended.code in (1, 2), ended.out, ended.err.count("\n")) == (True, "", 1)
    assert ended.err.startswith("distill-evaluate: ")
    assert told in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("preset", "refused"), [("dsa", True), ("dc", False)])
def test_rows_of_numbers_are_not_augmented(preset: str, refused: bool, tmp_path: Path) -> None:
    groups = ["dataset=linear_regression", "architecture=linear", "objective=regression"]
    asked = [
        *groups,
        "architecture.bias=false",
        "distilled.steps=1",
        "distilled.epochs=1",
        "distilled.labels=learned",
    ]
    ended = distill_evaluate(*asked, f"training={preset}", "baselines=closed_form", *HERE, folder=tmp_path)
    assert (ended.code == 2) == refused, ended.err
    told = "training.augmentation=dsa: changes images, and dataset.name=linear_regression has rows of numbers"
    assert (told in ended.err) == refused


def test_help_names_the_examples(tmp_path: Path) -> None:
    ended = distill_evaluate("--help", folder=tmp_path)
    assert "distill-evaluate dataset=mnist baselines=all" in ended.out


def test_ordinary_training_is_that_of_torch_optim(
    made: Path, tmp_path: Path, experiment: Callable[..., Experiment]
) -> None:
    """Ten epochs of torch's Adam on all images at once."""
    asked = ["inner_optimizer=adam", "training.learning_rate=0.01", "training.batch_size=20", "init=random"]
    asked += ["training.epochs=10", "evaluation.networks=1", f"artifact={made / 'distilled.safetensors'}"]
    assert distill_evaluate(*asked, *HERE, folder=tmp_path).code == 0
    judged = pandas.read_csv(tmp_path / "judged" / "evaluation.csv").set_index("method")
    problem = prepare(experiment("seed=3", "architecture=mlp", "architecture.width=9"))
    network, ours = problem.network, load_distilled(made / "distilled.safetensors")
    load_weights(network, problem.population("held-out", 1)[0])
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(10):
        adam.zero_grad()
        nn.functional.cross_entropy(network(ours.images.flatten(0, 1)), ours.labels.flatten()).backward()
        adam.step()
    images, labels = problem.data.test.batch()
    expected = nn.functional.cross_entropy(network(images), labels).item()
    assert judged.loc["distilled", "loss"] == pytest.approx(expected, rel=1e-4)
    assert abs(judged.loc["before_training", "loss"] / expected - 1) > 0.001  # 10 times the tolerance


def test_the_test_set_is_enough(data_dir: Path, tmp_path: Path) -> None:
    """MNIST's test files alone; the split is the one beside the train set."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (data_dir / "MNIST" / "raw").glob("t10k-*-ubyte"):
        shutil.copy(path, raw)
    options: dict[str, Any] = {"name": "MNIST", "mean": [0.1307], "std": [0.3081], "channels": 1}
    alone = TorchvisionDataset(root=str(tmp_path), download=False, **options).load_test(seed=0)
    whole = TorchvisionDataset(root=str(data_dir), download=False, **options).test_split()[0]
    assert len(alone.train) == len(alone.validation) == 0
    assert torch.equal(alone.test.labels, whole.labels)
    assert torch.equal(alone.test.batch(slice(0, 50)).images, whole.batch(slice(0, 50)).images)
    assert alone.specification.classes == 10
