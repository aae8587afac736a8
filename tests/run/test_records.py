"""The files of a run: each is read and written in one place, and those of version 0.1 stay readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dataset_distillation.errors import FileError
from dataset_distillation.objectives import Metric
from dataset_distillation.run.records import (
    Attempt,
    EvaluationRow,
    Result,
    RunRecord,
    Status,
    Sweep,
    read,
    save,
)

SPREAD = {"mean": 0.5, "std": 0.1, "min": 0.4, "max": 0.6}
#: What version 0.1 wrote: no `metrics` beside the name of the first.
OLD: dict[str, Any] = {
    "status": "finished",
    "metric": "accuracy",
    "validation_accuracy": 0.87,
    "evaluation": [
        {"method": "distilled", **SPREAD, "runs": 2, "networks": 2, "sets": 1, "difference": None,
         "metrics": {"accuracy": SPREAD, "attacked_as_target": SPREAD, "loss": SPREAD}},
    ],
    "config": {"seed": 0},
    "overrides": [],
}  # fmt: skip


def written(folder: Path, content: Any) -> Path:
    path = folder / "file.json"
    path.write_text(json.dumps(content))
    return path


def test_a_result_of_version_0_1_is_read(tmp_path: Path) -> None:
    result = read(Result, written(tmp_path, OLD))
    assert result is not None
    assert (result.status, result.validation) == ("finished", 0.87)
    assert result.metrics == [Metric("accuracy"), Metric("attacked_as_target")]  # no loss is shown
    assert result.rows["distilled"].metrics["loss"].mean == 0.5


def test_the_loss_of_version_0_1_is_better_if_lower(tmp_path: Path) -> None:
    old = {**OLD, "metric": "excess_loss", "validation_excess_loss": 0.1, "evaluation": []}
    result = read(Result, written(tmp_path, old))
    assert result is not None
    assert (result.metric, result.validation) == (Metric("excess_loss", False, False), 0.1)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    metric = Metric("share", higher_is_better=False)
    row = EvaluationRow(method="distilled", **SPREAD, runs=1)
    result = Result(status="finished", metrics=[metric], validation=0.25, evaluation=[row])
    save(result, tmp_path / "result.json")
    assert read(Result, tmp_path / "result.json") == result
    content = json.loads((tmp_path / "result.json").read_text())
    assert (content["metric"], content["validation_share"]) == ("share", 0.25)  # the names of version 0.1


def test_what_a_newer_version_added_is_kept(tmp_path: Path) -> None:
    attempt = {"started": "", "seconds": 1.0, "cpu_seconds": 1.0, "git_commit": None, "peak_memory_mb": 1,
               "peak_gpu_memory_mb": None, "energy": 3}  # fmt: skip
    path = written(tmp_path, {"cwd": "/", "overrides": [], "config": {}, "attempts": [attempt], "new": [1]})
    record = read(RunRecord, path)
    assert record is not None
    record.attempts.append(Attempt(**attempt))
    save(record, path)
    content = json.loads(path.read_text())
    assert content["new"] == [1]
    assert [attempt["energy"] for attempt in content["attempts"]] == [3, 3]


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert read(Sweep, tmp_path / "sweep.json") is None


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        (Result, "{", "EOF"),
        (Result, "[]", "object"),
        (Result, '{"evaluation": [{"method": "distilled"}]}', "evaluation.0.mean"),
        (Result, '{"validation": NaN}', "validation"),
        (Result, "[" * 100_000, "recursion"),
        (Status, '{"updated": 1, "pid": 99999999999999999999, "host": "", "overrides": []}', "pid"),
        (Status, '{"updated": -1e300, "pid": 1, "host": "", "overrides": []}', "updated"),
        (RunRecord, '{"cwd": "/", "overrides": [], "config": {}, "attempts": [{}]}', "attempts.0.started"),
    ],
)
def test_a_damaged_record_is_one_line(kind: Any, content: str, reason: str, tmp_path: Path) -> None:
    (path := tmp_path / "file.json").write_text(content)
    with pytest.raises(FileError) as error:
        read(kind, path)
    assert str(error.value).startswith(f"{path}: not what a run writes there, or damaged (")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bug_is_no_damage() -> None:
    """A value that no record may hold is refused where it is made, and not when the file is read."""
    with pytest.raises(ValueError, match="finite"):
        Result(validation=float("nan"))


@pytest.mark.parametrize(
    "changes",
    [{"engine": {"x": 1}}, {"engine": {"choice": "any", "compile": 0}}, {"overrides": ["a=1"] * 1001}],
)
def test_what_a_run_cannot_have_recorded_is_damaged(changes: dict[str, Any], tmp_path: Path) -> None:
    content = {"cwd": "/", "overrides": [], "config": {}, "attempts": []}
    assert read(RunRecord, written(tmp_path, content)) is not None
    with pytest.raises(FileError, match=f"{next(iter(changes))}"):
        read(RunRecord, written(tmp_path, content | changes))
