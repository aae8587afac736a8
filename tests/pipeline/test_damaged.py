"""Files that somebody, or a broken disk, has changed: each ends in one line, or is read as it stands."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

from dataset_distillation import load_distilled
from dataset_distillation.cli.pages import main
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.errors import UserError
from dataset_distillation.outer import checkpoints
from dataset_distillation.pipeline.resume import finished
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.run.history import History
from dataset_distillation.run.records import Result, RunRecord, read
from support.command_line import distill
from support.experiments import TINY
from support.folders import result_of
from support.mutations import mutated

RUN = [*TINY, "architecture=mlp", "distilled.steps=1", "outer.steps=3", "evaluation.validation_every=2"]
#: How many mutated files of each kind are read; 10,000 in all, of which `make test` reads a fifth.
MUTATED = {
    "distilled.safetensors": 3000,
    "checkpoints/step_00000003.ckpt": 3000,
    "result.json": 1500,
    "run.json": 1000,
    "history.csv": 500,
    "evaluation.csv": 500,
    "confusion.json": 500,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    ended = distill(*RUN, "evaluation.baselines=[random_real]", "hydra.run.dir=run", folder=folder)
    assert ended.code == 0, ended.err
    return folder / "run"


def same_set(path: Path, whole: DistilledSet) -> None:
    read = load_distilled(path)
    for name in ("images", "labels", "learning_rates"):
        assert torch.equal(getattr(read, name), getattr(whole, name))
    assert read.metadata == whole.metadata


def same_checkpoint(path: Path, whole: dict[str, Any]) -> None:
    read = checkpoints.load(path)
    assert read.keys() == whole.keys()
    assert all(
        torch.equal(read["state_dict"][name], whole["state_dict"][name]) for name in whole["state_dict"]
    )


def as_it_stands(path: Path, _: Any) -> None:
    """JSON and CSV have no checksum, for people edit them: what is read is what the file says."""
    folder = path.parent
    if path.name == "result.json":
        result = RecordedRun(folder).result
        assert result == Result.model_validate_json(path.read_bytes())
        assert finished(folder) in (None, result)
    elif path.name == "run.json":
        found = read(RunRecord, path).model_dump(exclude_unset=True)
        expected = json.loads(path.read_bytes())
        assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)  # as NaN equals NaN
    elif path.name == "history.csv":
        rows = History(folder, done=2).rows
        assert all(row["step"] < 2 for row in rows)
        pandas.DataFrame(rows).astype(float)  # raises if a field is no number
        assert RecordedRun(folder).history is not None or path.stat().st_size < 2
    elif path.name == "evaluation.csv":
        assert RecordedRun(folder).runs is not None or path.stat().st_size < 2
    else:
        assert RecordedRun(folder).confusion.keys() == json.loads(path.read_bytes()).keys()


READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Path, Any], None]]] = {
    "distilled.safetensors": (load_distilled, same_set),
    "checkpoints/step_00000003.ckpt": (checkpoints.load, same_checkpoint),
}


@pytest.mark.parametrize("share", [0.2, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MUTATED)
def test_a_mutated_file_is_refused_in_one_line_or_read_right(
    name: str, share: float, run: Path, tmp_path: Path
) -> None:
    draw, path = random.Random(name), tmp_path / "run" / name
    shutil.copytree(run, tmp_path / "run")
    content = path.read_bytes()
    reader, check = READERS.get(name, (lambda _: None, as_it_stands))
    whole, refused = reader(path), []
    check(path, whole)
    for _ in range(int(share * MUTATED[name])):
        path.write_bytes(mutated(content, draw))
        try:
            check(path, whole)
        except UserError as error:
            refused.append(str(error))
    assert refused
    assert [told for told in refused if str(path) not in told or "\n" in told] == []


def unfinished(run: Path, folder: Path) -> Path:
    """A copy of the run that was killed behind its last checkpoint."""
    shutil.copytree(run, folder / "run")
    (folder / "run" / "result.json").unlink()
    return folder / "run"


def goes_on(run: Path, folder: Path, *options: str) -> str:
    ended = distill(*RUN, "evaluation.baselines=[random_real]", *options, "hydra.run.dir=run", folder=folder)
    assert ended.code == 0, ended.err
    for name in ("distilled.safetensors", "history.csv"):
        assert (folder / "run" / name).read_bytes() == (run / name).read_bytes()
    return ended.err


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("distilled.safetensors", lambda content: content[:100]),
        ("result.json", lambda _: b'{"status": "finished"}'),
        ("result.json", lambda content: content.replace(b'"mean"', b'"maen"')),
    ],
)
def test_a_finished_run_that_was_damaged_is_made_again(
    name: str, damage: Callable[[bytes], bytes], run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(damage((run / name).read_bytes()))
    assert "finished already" not in goes_on(run, tmp_path)
    result = result_of(tmp_path / "run")
    assert result["evaluation"][1]["mean"] == result_of(run)["evaluation"][1]["mean"]


@pytest.mark.parametrize("torn", [b"\0\0\0\0", b"2,0.", b"2,1,2,3,4,5,6,7,8,9,10,11,12\n", b"\xff\n"])
def test_curves_that_a_power_loss_has_torn_do_not_stop_a_run(torn: bytes, run: Path, tmp_path: Path) -> None:
    with open(unfinished(run, tmp_path) / "history.csv", "ab") as file:
        file.write(torn)
    goes_on(run, tmp_path)


def test_methods_of_a_damaged_table_are_run_again(run: Path, tmp_path: Path) -> None:
    (unfinished(run, tmp_path) / "evaluation.csv").write_text("method,b\nrandom_real\n")
    assert "all methods are run again" in goes_on(run, tmp_path)


def test_a_checkpoint_of_something_else_is_passed_over(run: Path, tmp_path: Path) -> None:
    for path in (unfinished(run, tmp_path) / "checkpoints").iterdir():
        content = io.BytesIO()
        torch.save([1, 2], content)
        path.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())
    assert "not a checkpoint" in goes_on(run, tmp_path)


def sealed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    path.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())


def test_a_checkpoint_that_counts_what_no_run_can_is_passed_over(run: Path, tmp_path: Path) -> None:
    for path in (unfinished(run, tmp_path) / "checkpoints").iterdir():
        sealed(path, lambda checkpoint: checkpoint.update(skipped=[10**30, 10**30]))
    assert "not a checkpoint" in goes_on(run, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda checkpoint: checkpoint["state_dict"].update({"distilled.images": torch.zeros(3)}),
        lambda checkpoint: checkpoint["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(3)),
        lambda checkpoint: checkpoint["loops"].clear(),
        lambda checkpoint: checkpoint["callbacks"]["Best"].update(value=1e31),
        lambda checkpoint: checkpoint["callbacks"]["Best"]["distilled"].clear(),
        lambda checkpoint: checkpoint.update(global_step=999),
    ],
)
def test_a_checkpoint_that_was_sealed_again_is_refused(
    change: Callable[[dict[str, Any]], Any], run: Path, tmp_path: Path
) -> None:
    for path in (unfinished(run, tmp_path) / "checkpoints").iterdir():
        sealed(path, change)
    options = ["evaluation.baselines=[random_real]", "hydra.run.dir=run"]
    ended = distill(*RUN, *options, folder=tmp_path)
    assert ended.code == 1
    assert ".ckpt: not a checkpoint of this run, or damaged (" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda made: made.update(global_step=999), "it is of outer step 3, and global_step counts 999"),
        (lambda made: made["lr_schedulers"][0].update(last_epoch=4), "the schedule counts 4"),
        (
            lambda made: made["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"].update(completed=2),
            "the loop counts 2",
        ),
        (
            lambda made: made["optimizer_states"][0]["state"][0].update(step=torch.tensor(9.0)),
            "Adam counts 9",
        ),
        (lambda made: made.update(skipped=[999, 0]), "of 3 outer steps it skipped 999"),
        (lambda made: made.update(skipped=[1, 2]), "it skipped 1, the last 2"),
        (lambda made: made.update(skipped=[1, 0]), "Adam counts 3.0 of 2 steps"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    change: Callable[[dict[str, Any]], Any], told: str, run: Path
) -> None:
    made = torch.load(run / "checkpoints" / "step_00000003.ckpt", weights_only=True)
    checkpoints.check_counts(made, step=3, steps=3)
    with pytest.raises(ValueError, match=r"it is of outer step 3, and outer\.steps=2"):
        checkpoints.check_counts(made, step=3, steps=2)
    change(made)
    with pytest.raises(ValueError, match=told):
        checkpoints.check_counts(made, step=3, steps=3)


def test_a_checkpoint_knows_the_config_it_is_of(run: Path, tmp_path: Path) -> None:
    (unfinished(run, tmp_path) / "run.json").unlink()
    ended = distill(*RUN, "outer.learning_rate=0.5", "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 1
    assert "the config, the data, the weights of θ0 or the code of your network have changed" in ended.err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", b"[]"),
        ("result.json", b'{"status": "finished", "metric": "accuracy", "evaluation": [{"method": 1}]}'),
        ("result.json", b'{"config": 3}'),
        ("history.csv", b'step,outer/loss\n"0,1\n'),
        ("evaluation.csv", b"a,b\n1\n1,2,3\n"),
        ("evaluation.csv", b"a,b\n1,2\n"),
        ("confusion.json", b'{"distilled": [[1], [1, 2]]}'),
        ("confusion.json", b"[1]"),
        ("distilled.safetensors", b"{}"),
    ],
)
def test_the_report_on_damaged_files_is_one_line(
    name: str, content: bytes, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        main([str(tmp_path / "run")])
    assert "damaged" in str(error.value) or "cannot be read" in str(error.value)
    assert "\n" not in str(error.value)
