"""A run folder or an artifact that somebody sent runs no code, unless it is typed that it may."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from dataset_distillation import load_distilled
from dataset_distillation.cli import hydra_app
from dataset_distillation.distilled.artifact import DistilledSet
from support.command_line import Ended, distill, distill_evaluate
from support.experiments import TINY
from support.folders import result_of

SMALL = [*TINY, "distilled.steps=1", "evaluation.networks=0"]
CODE = ["architecture=imported", "architecture.path=payload:Net"]
PAYLOAD = """
from pathlib import Path
from torch import nn
Path({ran!r}).touch()
class Net(nn.Sequential):
    def __init__(self, channels, image_size, classes):
        super().__init__(nn.Flatten(), nn.Linear(channels * image_size**2, classes))
"""


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Path]:
    """A folder with a module that leaves a trace, `ran`, where it is imported."""
    folder, path = tmp_path / "received", sys.path[:]
    folder.mkdir()
    (folder / "payload.py").write_text(PAYLOAD.format(ran=str(tmp_path / "ran")))
    yield folder
    sys.modules.pop("payload", None)
    sys.path[:] = path


def record(folder: Path, *overrides: str) -> None:
    content = {"cwd": str(folder), "overrides": list(overrides), "config": {}, "attempts": []}
    (folder / "run.json").write_text(json.dumps(content))


def refused(ended: Ended, told: str) -> None:
    assert (ended.code in (1, 2), ended.out, ended.err.count("\n")) == (True, "", 1)
    assert told in ended.err


@pytest.mark.parametrize("override", [
    "+hydra.callbacks.x={_target_:builtins.open,file:ran,mode:w}",
    "hydra/launcher=joblib",
    "hydra.searchpath=[file://.]",
    "--config-dir=.",
    "+schema/architecture@architecture=imported",
    "architecture=../schema/architecture/imported",
    "architecture=[imported]",
    "architecture=${dataset}",
    "dataset@architecture=digits",
    "seed={",
])  # fmt: skip
def test_only_the_keys_of_an_experiment_are_taken_from_a_record(
    override: str, received: Path, tmp_path: Path
) -> None:
    record(received, *SMALL, override)
    refused(distill(f"resume={received}", folder=tmp_path), "not from the command of a run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["payload", "payload.py", "./payload.py", "{folder}/payload.py"])
def test_code_in_a_record_must_be_typed(place: str, received: Path, tmp_path: Path) -> None:
    code = [*CODE[:1], f"architecture.path={place.format(folder=received)}:Net"]
    record(received, *SMALL, *code)
    again = f"type cd {received}; distill resume={received} {' '.join(code)}"
    for typed, folder in (([], tmp_path), ([], received), (code[:1], received), (code, tmp_path)):
        ended = distill(f"resume={received}", *typed, folder=folder)
        refused(ended, again if folder == tmp_path else again.partition("; ")[2])
    assert not (tmp_path / "ran").exists()
    if place == "payload.py":
        assert distill(f"resume={received}", *code, folder=received).code == 0
        assert (tmp_path / "ran").exists()


def test_arguments_of_code_in_a_record_must_be_typed(received: Path, tmp_path: Path) -> None:
    given = "architecture.arguments={classes: 10}"
    record(received, *SMALL, *CODE, given)
    refused(distill(f"resume={received}", *CODE, folder=received), given)
    assert not (tmp_path / "ran").exists()
    assert distill(f"resume={received}", *CODE, given, folder=received).code == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("group", "key"),
    [("architecture", "architecture"), ("dataset", "dataset"), ("dataset@init.source", "init.source")],
)
def test_code_in_an_artifact_must_be_typed(group: str, key: str, received: Path, tmp_path: Path) -> None:
    assert distill(*SMALL, "hydra.run.dir=run", folder=tmp_path).code == 0
    made = load_distilled(tmp_path / "run" / "distilled.safetensors")
    metadata = json.loads(json.dumps(made.metadata))
    metadata["choices"] |= {"init": "pretrained", "dataset@init.source": "usps", group: "imported"}
    metadata["config"]["init"] = {"pretraining": {"folder": None, "workers": None}}
    replace(made, metadata=metadata).save(received / "sent.safetensors")
    ended = distill_evaluate("artifact=sent.safetensors", folder=received)
    refused(ended, f"add {group}=imported {key}.path=<module>:<attribute> to import it")
    metadata["choices"][group] = "../schema/architecture/imported"
    replace(made, metadata=metadata).save(received / "sent.safetensors")
    refused(distill_evaluate("artifact=sent.safetensors", folder=received), "which does not exist")


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> DistilledSet:
    folder = tmp_path_factory.mktemp("sent")
    assert distill(*SMALL, "init=fixed", "hydra.run.dir=run", folder=folder).code == 0
    return load_distilled(folder / "run" / "distilled.safetensors")


def resealed(sent: DistilledSet, folder: Path, **changes: Any) -> Path:
    """The artifact with other metadata, or without those that are None."""
    metadata = {key: value for key, value in {**sent.metadata, **changes}.items() if value is not None}
    (folder / "sent.safetensors").write_bytes(replace(sent, metadata=metadata).content())
    return folder / "sent.safetensors"


def test_what_an_artifact_says_is_never_looked_up(
    sent: DistilledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the environment of whoever evaluates it, whose result the sender may see."""
    monkeypatch.setenv("SECRET", secret := secrets.token_hex(16))
    text = r"${oc.env:SECRET} \${x} \\${y}"
    config = json.loads(json.dumps(sent.metadata["config"]))
    config["dataset"]["name"] = text
    names = [text, *sent.metadata["class_names"][1:]]
    path = resealed(sent, tmp_path, config=config, class_names=names)
    judged = [f"artifact={path}", "evaluation.networks=1", "logger=none", "hydra.run.dir=judged"]
    ended = distill_evaluate(*judged, folder=tmp_path)
    assert ended.code == 0, ended.err
    result = result_of(tmp_path / "judged")
    assert result["config"]["dataset"]["name"] == text
    assert result["class_names"] == names
    left = [file for file in (tmp_path / "judged").rglob("*") if file.is_file()]
    assert [file for file in left if secret.encode() in file.read_bytes()] == []


def test_a_record_is_never_looked_up_either(tmp_path: Path) -> None:
    record(tmp_path, *SMALL, "dataset.name=${oc.env:HOME}")
    refused(distill(f"resume={tmp_path}", folder=tmp_path), "an interpolation, and files hold values")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"init": None}, "its metadata have no init"),
        ({"init": 3}, "metadata init: Input should be a valid string"),
        (
            {"class_names": ["x" * 1001] * 10},
            "class_names.0: String should have at most 1000 characters",
        ),
        ({"class_names": ["x"] * 100_001}, "metadata class_names: List should have at most 100000 items"),
        ({"mean": ["a"]}, "metadata mean.0: Input should be a valid number"),
        ({"choices": {"dataset": ["digits"]}}, "metadata choices.dataset: Input should be a valid string"),
        ({"config": {}}, "was made by a Python program"),
        ({"config": {"dataset": 1, "architecture": {}}}, "its config has no"),
    ],
)
def test_an_artifact_that_was_sealed_again(
    changes: dict[str, Any], told: str, sent: DistilledSet, tmp_path: Path
) -> None:
    ended = distill_evaluate(f"artifact={resealed(sent, tmp_path, **changes)}", folder=tmp_path)
    refused(ended, told)
    assert not (tmp_path / "outputs").exists()


def test_weights_of_another_precision_judge_in_that_of_the_network(
    sent: DistilledSet, tmp_path: Path
) -> None:
    weights = {name: weight.double() for name, weight in sent.initial_weights.items()}
    replace(sent, initial_weights=weights).save(tmp_path / "sent.safetensors")
    judged = ["artifact=sent.safetensors", "logger=none", "evaluation.networks=1"]
    ended = distill_evaluate(*judged, folder=tmp_path)
    assert ended.code == 0, ended.err


def test_what_a_resumed_run_writes_into_lies_in_its_folder(received: Path, tmp_path: Path) -> None:
    record(received, *SMALL)
    (received / "distill.log").symlink_to(tmp_path / "elsewhere")
    refused(distill(f"resume={received}", folder=tmp_path), "a link, and the run would write elsewhere")
    (received / "distill.log").unlink()
    os.mkfifo(received / "distill.log")
    refused(distill(f"resume={received}", folder=tmp_path), "not a file that a run can write into; remove it")
    assert not (tmp_path / "elsewhere").exists()


def test_an_artifact_of_a_network_of_ones_own(received: Path) -> None:
    assert distill(*SMALL, *CODE, "hydra.run.dir=run", folder=received).code == 0
    judged = [f"artifact={received}/run/distilled.safetensors", *CODE, "evaluation.networks=1", "logger=none"]
    ended = distill_evaluate(*judged, "hydra.run.dir=judged", folder=received)
    assert ended.code == 0, ended.err


def test_a_job_of_an_experiment_that_is_a_multirun_goes_on_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job").mkdir()
    record(tmp_path / "job", "experiment=figure4", *SMALL)
    modes = []

    def run(config: object) -> None:
        modes.append(HydraConfig.get().mode)

    monkeypatch.setattr(hydra_app, "run_job", run)
    ended = distill("resume=job", folder=tmp_path)
    assert (ended.code, modes) == (0, [RunMode.RUN]), ended.err
