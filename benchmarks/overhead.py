"""The overhead of a run: checkpoints, as a share of its time, and its start.

    python benchmarks/overhead.py [--steps 50] [--repeats 5]

A run of the demo's size writes a checkpoint after each outer step. The time of one checkpoint, divided by the
default interval between two, is the share of a run's time that checkpoints need; it is measured by the wall
clock, since the disk is the slow part. The start is the time from the command to the first checkpoint after
the first outer step, in seconds of the wall clock and of the processor; on a busy machine, use the latter.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

from dataset_distillation.cli import distill
from dataset_distillation.outer.checkpoints import Checkpoints
from dataset_distillation.outer.options import Trainer

DISTILL = str(Path(sys.executable).with_name("distill"))
DEMO = ["experiment=demo", "evaluation=none", "logger=none", "trainer.progress_bar=false"]
EACH_STEP = "trainer.checkpoint_seconds=0"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, command in (("--help", ["--help"]), ("first outer step", [*DEMO, EACH_STEP])):
            times = [start(command, Path(folder, f"{name} {i}")) for i in range(arguments.repeats)]
            wall, processor = map(statistics.median, zip(*times, strict=True))
            print(f"{name}: {wall:.1f} s, {processor:.1f} s of the processor")
        seconds = checkpoints(arguments.steps, Path(folder, "run"))
    for name, one in (("typical", statistics.median(seconds)), ("slowest", max(seconds))):
        share = one / (interval := Trainer().checkpoint_seconds)
        print(
            f"the {name} checkpoint: {1000 * one:.1f} ms; every {interval:.0f} s, {share:.3%} of a run's time"
        )


def start(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Return wall and processor seconds until the command has ended or has written its first checkpoint."""
    before, began = _processor(), time.perf_counter()
    with subprocess.Popen([DISTILL, *command, f"hydra.run.dir='{folder}'"], stdout=subprocess.DEVNULL) as run:
        while run.poll() is None and not list(folder.glob("checkpoints/*.ckpt")):
            time.sleep(0.01)
        wall = time.perf_counter() - began
        run.kill()
    return wall, _processor() - before


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def checkpoints(steps: int, folder: Path) -> list[float]:
    """Return the seconds of each checkpoint of a run, including the curves that are saved with it."""
    save, seconds = Checkpoints._save, []

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        save(*arguments)
        seconds.append(time.perf_counter() - began)

    command = [DISTILL, *DEMO, EACH_STEP, f"outer.steps={steps}", f"hydra.run.dir='{folder}'"]
    typed = mock.patch.object(sys, "argv", command)
    with mock.patch.object(Checkpoints, "_save", timed), typed, suppress(SystemExit):
        distill()
    return seconds


if __name__ == "__main__":
    main()
