"""A signal at any phase: one line, the exit code, nothing half-written; the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pytest

from support.command_line import Ended, distill
from support.experiments import TINY
from support.folders import digest
from support.waiting import DEADLINE

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGUSR2: 75}
#: The program as its console script calls it, and Python's own audit events, which say where it is.
PROGRAM = """
import os, signal, sys
sys.argv = {arguments!r}
left = {times}
def watch(event, arguments):
    global left
    while left and event == {event!r} and {what!r} in str(arguments[0]):
        left -= 1
        os.kill(os.getpid(), {signum})
sys.addaudithook(watch)
from dataset_distillation.cli import {entry}
sys.exit({entry}())
"""


class Phase(NamedTuple):
    """Begins when a module is imported, or a file opened whose path contains `what`."""

    event: str
    what: str


#: Before our own code has been imported, and in the middle of that.
FIRST = {
    "distill": "dataset_distillation.cli.hydra_app",
    "evaluate": "dataset_distillation.cli.messages",
    "pretrain": "hydra",
    "report": "dataset_distillation.cli.pages",
    "status": "dataset_distillation.cli.progress",
}
PHASES = [
    *(Phase("import", module) for module in ("hydra.core", "omegaconf", "torch", "torch.optim", "numpy")),
    *(Phase("import", module) for module in ("pytorch_lightning", "torch._dynamo", "sklearn", "matplotlib")),
    *(Phase("open", f"/.{name}.") for name in ("config.yaml", "status.json", "run.json")),
    Phase("open", "history.csv"),
    Phase("open", "/.step_00000002.ckpt."),
    *(Phase("open", f"/.{name}.") for name in ("step_00000004.ckpt", "distilled.safetensors", "result.json")),
    *(Phase("open", name) for name in ("grid.png", "evaluation.csv", "confusion.json", "/.report.html.")),
]
RUN = [*TINY, "outer.steps=4", "evaluation.validation_every=2", "trainer.checkpoint_seconds=0"]


def interrupted(
    entry: str, phase: Phase, signum: signal.Signals, *arguments: str, folder: Path, times: int = 1
) -> Ended:
    """What a program leaves that receives `signum` when `phase` begins."""
    program = PROGRAM.format(
        arguments=[f"distill-{entry}".replace("-distill", ""), *arguments],
        event=phase.event,
        what=phase.what,
        entry=entry,
        signum=int(signum),
        times=times,
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(("entry", "signum"), list(zip(FIRST, cycle(SIGNALS), strict=False)))
def test_from_its_first_line_on(entry: str, signum: signal.Signals, tmp_path: Path) -> None:
    phase = Phase("import", FIRST[entry])
    ended = interrupted(entry, phase, signum, "no-such-thing", folder=tmp_path, times=2)
    program = f"distill-{entry}".replace("-distill", "")
    assert ended == (CODES[signum], "", f"{program}: interrupted ({signum.name})\n")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whole")
    assert distill(*RUN, "hydra.run.dir=run", folder=folder).code == 0
    return digest(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "signum", "times"), list(zip(PHASES, cycle(SIGNALS), cycle((1, 1, 2)), strict=False))
)
def test_at_each_phase_of_a_run(
    phase: Phase, signum: signal.Signals, times: int, whole: str, tmp_path: Path
) -> None:
    ended = interrupted("distill", phase, signum, *RUN, "hydra.run.dir=run", folder=tmp_path, times=times)
    assert ended.code == CODES[signum], ended.err
    assert ended.err.count(f"interrupted ({signum.name})") == 1, ended.err
    assert "Traceback" not in ended.err
    assert "ignored" not in ended.err
    assert not [path for path in tmp_path.rglob(".*.*") if path.parent.name != ".hydra"]
    again = distill(*RUN, "hydra.run.dir=run", folder=tmp_path, pages=True)
    assert again.code == 0, again.err
    assert (tmp_path / "run" / "report.html").exists()
    assert digest(tmp_path / "run") == whole
