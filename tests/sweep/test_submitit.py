"""Jobs in a cluster's queue, which scripts in place of its commands play; test_slurm.py has a real one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from dataset_distillation.files import write_json
from dataset_distillation.run import heartbeat
from dataset_distillation.sweep import multirun as multirun_of
from dataset_distillation.sweep.jobs import jobs_of
from dataset_distillation.sweep.submitit import give_up, slurm_holds, submitted
from support.command_line import distill
from support.experiments import TINY
from support.waiting import DEADLINE, eventually

JOBS = [["seed=0"], ["seed=1"]]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Call it with what `squeue` shall print, or None for one that fails; `sbatch` submits job 7."""
    commands = tmp_path / "bin"
    commands.mkdir()

    def command(name: str, script: str) -> None:
        (commands / "new").write_text(f"#!/bin/sh\n{script}\n")
        (commands / "new").chmod(0o755)
        (commands / "new").rename(commands / name)

    def holds(ids: str | None) -> None:
        command("squeue", "exit 1" if ids is None else f"printf '{ids}'")

    command("sbatch", "echo Submitted batch job 7")
    command("srun", "exit 1")
    holds("")
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return holds


def life(age: float = 0) -> dict[str, Any]:
    return {"updated": time.time() - age, "pid": os.getpid(), "host": socket.gethostname()}


def test_ids_are_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    for name in ("9_10", "9_9", "10_0", "9_9x", "notes"):
        (tmp_path / ".submitit" / name).mkdir(parents=True)
        (tmp_path / ".submitit" / name / f"{name}_submitted.pkl").touch()
    (tmp_path / ".submitit" / "8_0").mkdir()  # never submitted
    assert submitted(tmp_path) == ["9_9", "9_10", "10_0"]


@pytest.mark.parametrize(
    ("left", "held", "not_held", "unknown"),
    [
        ({}, "queued", "missing", "queued"),
        ({"result.json": {"status": "interrupted"}}, "queued", "interrupted", "interrupted"),
        ({"result.json": {"status": "failed"}}, "queued", "failed", "failed"),
        ({"result.json": {"status": "finished"}}, "finished", "finished", "finished"),
        ({"status.json": {"age": 2 * DEADLINE}}, "queued", "lost", "lost"),
        ({"status.json": {"age": 0}}, "running", "running", "running"),
    ],
)
def test_what_the_queue_holds_is_still_to_come(
    left: dict[str, Any],
    held: str,
    not_held: str,
    unknown: str,
    queue: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "LOST", DEADLINE)
    told = {"launcher": "x.SlurmLauncher", "submitted": ["7_0", "7_1"], "uid": os.getuid(), "jobs": JOBS}
    write_json(tmp_path / "sweep.json", {**told, "ended": False, **life(age=3 * DEADLINE)})
    for name, content in left.items():
        progress = {"step": 1, "steps": 2, "metric": "", "validation": None, "steps_per_second": None}
        sign = life(content["age"]) if "age" in content else {}  # of life, as the test begins
        write_json(tmp_path / "1" / name, {**progress, **content, **sign, "overrides": JOBS[1]})
    for ids, state in (("7_0\\n7_1\\n", held), ("7_0\\n", not_held), (None, unknown)):
        queue(ids)
        assert [job.state for job in jobs_of(tmp_path)] == ["queued", state]


def test_a_machine_holds_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "LOST", 2 * DEADLINE)
    with subprocess.Popen(["sleep", "3600"]) as running, subprocess.Popen(["true"]) as ended:
        told = {"launcher": "x.LocalLauncher", "submitted": [str(running.pid), str(ended.pid)], "jobs": JOBS}
        write_json(tmp_path / "sweep.json", {**told, "ended": False, **life()})
        try:
            eventually(lambda: [job.state for job in jobs_of(tmp_path)] == ["queued", "missing"])
        finally:
            running.kill()


def test_submitit_waits_no_longer_for_a_job_that_was_given_up(tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit")
    job = submitit.SlurmJob(tmp_path / ".submitit" / "%j", "7_1", tasks=[0, 1])
    assert not job.done()
    give_up(tmp_path, "7_1", tasks=2)
    assert job.done()
    assert "left SLURM's queue without a word" in str(job.exception())


def multirun(folder: Path, then: Callable[[], None]) -> Any:
    """A multirun of two jobs; `then` is called when they are submitted."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

    def watch() -> None:
        eventually(lambda: len(submitted(folder / "pair")) == 2)
        then()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    ended = distill(
        "-m", *TINY, "hydra/launcher=submitit_slurm", "seed=0,1", "hydra.sweep.dir=pair", folder=folder
    )
    watcher.join(DEADLINE)
    assert not watcher.is_alive()
    return ended


def test_ctrl_c_leaves_pending_jobs_their_sweep(queue: Any, tmp_path: Path) -> None:
    queue("7_0\\n7_1\\n")
    ended = multirun(tmp_path, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert ended.code == 130, ended.err
    told = json.loads((tmp_path / "pair" / "sweep.json").read_text())
    assert (told["submitted"], told["ended"]) == (["7_0", "7_1"], False)
    assert (tmp_path / "pair" / "multirun.yaml").exists()
    assert pandas.read_csv(tmp_path / "pair" / "sweep.csv")["status"].tolist() == ["queued"] * 2


def test_jobs_that_are_cancelled_before_they_begin_end_the_multirun(
    queue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    monkeypatch.setattr(multirun_of, "LOST", 0.2)
    queue("7_0\\n7_1\\n")
    ended = multirun(tmp_path, lambda: queue(""))
    assert ended.code == 1, ended.err
    assert pandas.read_csv(tmp_path / "pair" / "sweep.csv")["status"].tolist() == ["missing"] * 2
    assert slurm_holds(os.getuid()) == set()
