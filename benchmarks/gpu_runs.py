"""Works through a list of runs in slots of minutes, as on a machine that is lent for so long.

    python benchmarks/gpu_runs.py LIST --minutes 9 [--folder outputs]

Each line of LIST is a name and what follows `distill`: `mnist_0 experiment=mnist_fixed_10 seed=0`; `#` begins
a comment. A run goes into FOLDER/<name>. In the order of the list, each run begins, or goes on from its
checkpoint; one that is finished, or has failed, is not touched (remove the folder of a failed one to try it
again). When the time is up the run saves its state, and the next slot goes on there. Leave a minute more than
you say for its last outer step and for the checkpoint.

Exit code 0: nothing is left to do; 75: call it again; 1: a run has failed, and nothing else is left; 2: a
line of the list is refused.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dataset_distillation.errors import ConfigError
from dataset_distillation.run.folder import RESULT, RUN
from dataset_distillation.run.interruption import TRY_AGAIN
from dataset_distillation.run.records import Result, read

DISTILL = str(Path(sys.executable).with_name("distill"))
CLOSED = ("finished", "failed")


class Entry(NamedTuple):
    """A line of the list."""

    name: str
    overrides: list[str]


def entries(text: str) -> list[Entry]:
    """Return the lines of a list. Raises ValueError unless each has a name of its own and overrides."""
    lines = (shlex.split(line, comments=True) for line in text.splitlines())
    found = [Entry(words[0], words[1:]) for words in lines if words]
    for i, entry in enumerate(found):
        if not entry.overrides or "=" in entry.name or entry.name in [other.name for other in found[:i]]:
            raise ValueError(f"{entry.name}: each line is a name of its own and what follows `distill`")
    return found


def state(folder: Path) -> str:
    """How the run in `folder` ended: finished, failed, interrupted, ..., or missing."""
    result = read(Result, folder / RESULT)
    return result.status if result else "missing"


def command(entry: Entry, folder: Path) -> list[str]:
    """What begins the run, or goes on with it."""
    own = [f"resume={folder}"] if (folder / RUN).is_file() else [*entry.overrides, f"hydra.run.dir={folder}"]
    return [DISTILL, *own]


def slot(runs: Sequence[Entry], root: Path, seconds: float) -> int:
    """Run what is open until `seconds` have passed; return the exit code."""
    end = time.monotonic() + seconds
    for entry in runs:
        folder = root / entry.name
        if state(folder) not in CLOSED and time.monotonic() < end:
            process = subprocess.Popen(command(entry, folder))
            try:
                process.wait(end - time.monotonic())
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGUSR1)  # which saves the state
                process.wait()
            if process.returncode == ConfigError.exit_code:  # distill has said why
                return process.returncode
        print(f"{entry.name}: {state(folder)}", flush=True)
    states = [state(root / entry.name) for entry in runs]
    if set(states) <= set(CLOSED):
        return int("failed" in states)
    return TRY_AGAIN


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("list", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--folder", type=Path, default=Path("outputs"))
    arguments = parser.parse_args()
    return slot(entries(arguments.list.read_text()), arguments.folder, 60 * arguments.minutes)


if __name__ == "__main__":
    sys.exit(main())
