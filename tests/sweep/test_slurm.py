"""A multirun on a real SLURM: jobs are queued again and cancelled, and the table has them all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas
import pytest

from dataset_distillation.run.records import RunRecord, Status, Sweep, read
from support.experiments import TINY
from support.waiting import eventually

DISTILL = Path(sys.executable).with_name("distill")
SLURM = Path(__file__).parents[1] / "support" / "slurm.sh"
LONG = 3000  # outer steps that outlast several signs of life (status.BEAT) on the fastest machine

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="SLURM runs as root"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("munged", "slurmctld", "slurmd", "srun"))),
        reason="no SLURM: `tests/support/slurm.sh install`",
    ),
]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two slots, for this test alone."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    try:
        subprocess.run([SLURM, "start", folder], check=True)
        yield
    finally:
        subprocess.run([SLURM, "stop", folder], check=True)


def step_of(job: Path) -> int:
    return status.step if (status := read(Status, job / "status.json")) else 0


def interrupt(job: str) -> None:
    """Send the signal that comes before a time limit; left alone, scancel repeats it to the requeued job."""
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(["scancel", "--signal=USR2", job], timeout=3, check=True)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_one_of_six_jobs_is_queued_again_and_one_is_cancelled(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    launcher = ["hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"]
    small = ["architecture=mlp", "distilled.steps=1", "evaluation.networks=0"]
    swept = f"outer.steps={LONG},3,4,5,6,7"
    command = [DISTILL, "-m", *launcher, *TINY, *small, swept, f"hydra.sweep.dir={sweep}"]
    with open(tmp_path / "log", "w") as log:
        multirun = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:

        def has_begun() -> bool:
            assert multirun.poll() is None, (tmp_path / "log").read_text()
            return step_of(sweep / "0") >= 2

        eventually(has_begun)
        [array] = {path.name.split("_")[0] for path in sweep.glob(".submitit/*_0")}
        subprocess.run(["scancel", f"{array}_5"], check=True)  # which has not begun
        interrupt(f"{array}_0")
        assert multirun.wait(timeout=600) == 1
    finally:
        multirun.kill()
    rows = pandas.read_csv(sweep / "sweep.csv")
    assert rows["outer.steps"].tolist() == [LONG, 3, 4, 5, 6, 7]
    assert rows["status"].tolist() == ["finished"] * 5 + ["missing"]
    record = read(RunRecord, sweep / "0" / "run.json")
    assert record is not None
    attempts = record.attempts
    assert [attempt.end for attempt in attempts] == ["interrupted", "finished"]
    assert (
        f"resuming after outer step {attempts[0].outer_steps} of {LONG}"
        in (sweep / "0" / "distill.log").read_text()
    )
    [output] = sweep.glob(f".submitit/{array}_0/*_log.out")
    assert output.read_text().count("Starting with") == 2
    record_of_sweep = read(Sweep, sweep / "sweep.json")
    assert record_of_sweep is not None
    assert record_of_sweep.ended
