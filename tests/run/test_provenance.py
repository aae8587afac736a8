"""What a result says about where it comes from."""

from __future__ import annotations

import json
import mmap
import os
import platform
import resource
import subprocess
import time
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from dataset_distillation import load_distilled
from dataset_distillation.run import provenance
from dataset_distillation.run.attempts import Attempts
from dataset_distillation.run.fields import Engine
from dataset_distillation.run.provenance import Code, hardware, versions
from dataset_distillation.run.run import Run
from support.command_line import distill, only_run
from support.experiments import TINY
from support.folders import result_of


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which this package's code seems to lie."""
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "code.py").write_text("one\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr(provenance, "__file__", str(package / "code.py"))
    return tmp_path


def test_attempts_of_another_choice_are_not_its_own(run: Run) -> None:
    first = Attempts(run)
    first.record.engine = Engine(choice="full", compile=False)
    first.save(None)
    again = Attempts(replace(run, choices=run.choices | {"experiment": "demo"})).record
    assert (again.engine, len(again.attempts)) == (first.record.engine, 2)
    other = Attempts(replace(run, choices=run.choices | {"init": "fixed"}, overrides=["init=fixed"])).record
    assert (other.engine, len(other.attempts)) == (None, 1)
    assert other.overrides == ["init=fixed"]


def test_attempts_of_a_version_with_fewer_options_are_its_own(run: Run) -> None:
    """What the older version does not know has its default, else the run is refused before."""
    older = replace(run, config={"seed": 0, "outer": {"steps": 5}})
    first = Attempts(older)
    first.record.engine = Engine(choice="traced", compile=True)
    first.save(None)
    newer = replace(run, config={"seed": 0, "outer": {"steps": 5, "clip_to_mean": None}})
    again = Attempts(newer).record
    assert (again.engine, len(again.attempts)) == (first.record.engine, 2)
    assert again.config == newer.config
    other = Attempts(replace(run, config={"seed": 1, "outer": {"steps": 5, "clip_to_mean": None}})).record
    assert (other.engine, len(other.attempts)) == (None, 1)


def test_the_commit_of_a_clean_checkout(checkout: Path) -> None:
    assert Code.running() == Code(git(checkout, "rev-parse", "HEAD").strip(), b"")


def test_the_saved_changes_make_the_code_that_ran(checkout: Path, tmp_path_factory: Any) -> None:
    (checkout / "src" / "package" / "code.py").write_text("two\n")
    (checkout / "src" / "new ü.py").write_text("three\n")
    (checkout / "notes.txt").write_text("of no effect")
    code = Code.running()
    other = tmp_path_factory.mktemp("other")
    git(checkout, "worktree", "add", "-q", "--detach", str(other / "tree"))
    (other / "changes").write_bytes(code.changes)
    git(other / "tree", "apply", str(other / "changes"))
    assert (other / "tree" / "src" / "package" / "code.py").read_text() == "two\n"
    assert (other / "tree" / "src" / "new ü.py").read_text() == "three\n"
    assert not (other / "tree" / "notes.txt").exists()


def test_an_installed_package_has_no_commit_of_the_checkout_around_it(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / ".gitignore").write_text(".venv\n")
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "code.py").write_text("installed\n")
    monkeypatch.setattr(provenance, "__file__", str(checkout / ".venv" / "code.py"))
    assert Code.running() == Code(None, b"")


def test_versions_are_those_of_the_direct_dependencies() -> None:
    told = versions()
    assert told["python"] == platform.python_version()
    for name in ("dataset-distillation", "torch", "pytorch-lightning", "safetensors", "hydra-core"):
        assert told[name] == version(name)
    assert "pytest" not in told


def test_hardware_is_this_machine() -> None:
    told = hardware(torch.device("cpu"))
    assert told["cores"] == os.cpu_count()
    assert told["gpu"] is None
    assert told["processor"]
    if Path("/proc/meminfo").exists():
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
        assert told["memory_gb"] == pytest.approx(kilobytes / 2**20, abs=1)


def processor_seconds() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


def test_an_attempt_costs_what_it_takes(run: Run) -> None:
    before = processor_seconds()
    with Attempts(run) as first:
        spent = time.process_time()
        while time.process_time() - spent < 0.2:
            pass
        first.save(3)
    read = json.loads((run.folder / "run.json").read_text())["attempts"]
    assert read[0]["outer_steps"] == 3
    assert read[0]["end"] is None  # as if it had been killed here
    with pytest.raises(RuntimeError), Attempts(run) as second:
        raise RuntimeError
    assert [attempt.end for attempt in second.record.attempts] == [None, "failed"]
    cost = second.cost()
    assert second.record.attempts[0].started == cost.started <= cost.ended
    whole = processor_seconds() - before  # of which an attempt that is counted twice would be more
    assert 0.2 <= cost.cpu_seconds <= whole + 0.01  # each of the two attempts is rounded
    assert cost.seconds >= 0.2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert cost.peak_memory_mb == pytest.approx(peak, rel=0.01)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
def test_the_peak_of_memory_is_not_that_of_the_job_before(run: Run) -> None:
    """A multirun's jobs may share a process."""
    with mmap.mmap(-1, 2**28) as block:  # 256 MiB, of which each page is touched
        block[:: mmap.PAGESIZE] = bytes(2**28 // mmap.PAGESIZE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with Attempts(run) as attempts:
        peak = attempts.cost().peak_memory_mb
    assert peak is not None
    assert peak < before - 128


def test_result_artifact_and_logger_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    open_ = "dataset_distillation.loggers.none.Nothing.open"
    monkeypatch.setattr(open_, lambda _, folder, config, title: shown.append(config) or [])
    code = Code("c" * 40, b"a change\n")
    monkeypatch.setattr("dataset_distillation.cli.job.Run", partial(Run, code=code))
    assert distill(*TINY, "seed=3", folder=tmp_path).code == 0
    run = only_run(tmp_path)
    told = result_of(run)
    metadata = load_distilled(run / "distilled.safetensors").metadata
    assert (run / "uncommitted.diff").read_bytes() == b"a change\n"
    expected = {"git_commit": "c" * 40, "git_dirty": True, "seed": 3, "versions": versions()}
    for where in (told["provenance"], metadata, shown[0]["provenance"]):
        assert {key: where[key] for key in expected} == expected
        assert where["overrides"][-1] == "seed=3"
        assert len(where["data_checksum"]) == 64
        assert where["hardware"] == hardware(torch.device("cpu"))
    assert metadata["config"] == told["config"]
    assert {"started", "ended", "seconds", "attempts"}.isdisjoint(metadata)
    assert len(told["provenance"]["attempts"]) == 1
