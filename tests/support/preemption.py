"""Runs that die at a chosen moment: children of a server that has imported everything once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.run.run import Run
from support.waiting import DEADLINE

PHASES = ("start", "step", "checkpoint", "validation", "evaluation")
#: Seconds that an `os.fsync` and the begin of a validation take longer, so that moments fall into them.
SLOW = 0.01
KILLED = -signal.SIGALRM


class Moment(NamedTuple):
    """When to die: `seconds` after the `count`-th time that `phase` has begun."""

    phase: str
    count: int
    seconds: float


class Children:
    """Runs in processes of their own."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([
            "dataset_distillation.pipeline.distill", "higher", "sklearn.datasets", "sklearn.model_selection",
            "torchvision.transforms.v2", "pytorch_lightning.loggers", "matplotlib.backends.backend_agg",
        ])  # fmt: skip

    def run(self, experiment: Experiment, run: Run, moment: Moment | None = None) -> tuple[int, str]:
        """Returns the exit code (`KILLED` where the moment came) and the phase it ended in."""
        phase = self.context.RawValue("i")
        child = self.context.Process(target=_child, args=(experiment, run, moment, phase))
        child.start()
        child.join(DEADLINE)
        assert child.exitcode is not None, "it hangs"
        return child.exitcode, PHASES[phase.value]


def _child(experiment: Experiment, run: Run, moment: Moment | None, now: Any) -> None:
    from dataset_distillation.outer import module
    from dataset_distillation.outer.checkpoints import WholeCheckpoints
    from dataset_distillation.pipeline import distill as pipeline

    begun: Counter[str] = Counter()

    def begins(phase: str) -> None:
        now.value = PHASES.index(phase)
        begun[phase] += 1
        if moment and moment[:2] == (phase, begun[phase]):
            # By the kernel, as SIGKILL would: a thread that sends that may get its turn too late.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, max(moment.seconds, 1e-6))

    def watched(owner: Any, name: str, phase: str) -> Any:
        function: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            begins(phase)
            time.sleep(SLOW if phase == "validation" else 0)
            return function(*arguments, **options)

        return mock.patch.object(owner, name, call)

    def slow(descriptor: int) -> None:
        time.sleep(SLOW)
        fsync(descriptor)

    fsync = os.fsync
    begins("start")
    with (
        watched(module.DistillationModule, "training_step", "step"),
        watched(module.DistillationModule, "validation_step", "validation"),
        watched(WholeCheckpoints, "save_checkpoint", "checkpoint"),
        watched(pipeline, "judge", "evaluation"),
        mock.patch.object(os, "fsync", slow),
    ):
        pipeline.distill(experiment, run)
