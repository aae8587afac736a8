"""`run.json`: the config of a run, how often it was started, how far each attempt came, and what it cost."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import resource
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dataset_distillation.run.folder import EVALUATION, RUN
from dataset_distillation.run.records import Attempt, Cost, Provenance, RunRecord, read, save
from dataset_distillation.run.run import Run

log = logging.getLogger(__name__)

#: The limits of a run, which may be raised when it goes on, or when it is finished.
LIMITS = ("outer.steps", "outer.minutes")

#: What judges when the distillation has ended; it may change as long as the run is not finished.
JUDGES = (
    "evaluation.networks",
    "evaluation.architectures",
    "evaluation.baselines",
    "evaluation.selection",
    "evaluation.baseline_length",
    "evaluation.matching_steps",
)

#: Of these, what says which rows the table has, and changes none of them.
ROWS = ("evaluation.architectures", "evaluation.baselines")

#: Groups whose choices are values alone, which the config has; those of other groups differ in code, too.
OF_VALUES = ("experiment", "distilled", "outer", "evaluation", "trainer", "training")


def other_choices(here: Mapping[str, str], earlier: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the choice here and the earlier one of each group of which both are known and differ."""
    both = [group for group in here if group in earlier and group not in OF_VALUES]
    return {group: (here[group], earlier[group]) for group in both if here[group] != earlier[group]}


def raised(key: str, value: Any, earlier: Any) -> bool:
    """Whether `key` is a limit and `value` is more than `earlier`; None is no limit."""
    return key in LIMITS and earlier is not None and (value is None or value > earlier)


def extended(config: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether a limit in `config` is higher than in that of an earlier run."""
    here, there = dict(flat(config)), dict(flat(earlier))
    return any(raised(key, here.get(key), there.get(key)) for key in LIMITS)


def _equal(here: Mapping[str, Any], earlier: Mapping[str, Any], but: Collection[str]) -> bool:
    """Whether two configs have the same values of the keys that both have, but for those in `but`.

    What one of them lacks has its default, else the run would have been refused: another version wrote it.
    """
    one, other = dict(flat(here)), dict(flat(earlier))
    return all(one[key] == other[key] for key in one.keys() & other.keys() - set(but))


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key of a config, with those of its groups before it, and its value."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _same(record: RunRecord, run: Run) -> bool:
    """Whether `record` is of this run, whatever its limits and judges."""
    values = _equal(run.config, record.config, (*LIMITS, *JUDGES))
    return values and not other_choices(run.choices, record.choices)


class Attempts:
    """The present attempt and those before it; saved at each checkpoint, since the process may be killed."""

    def __init__(self, run: Run) -> None:
        self.path = run.folder / RUN
        record = read(RunRecord, self.path)
        if record is None or not _same(record, run):
            record = RunRecord(cwd=os.getcwd(), overrides=run.overrides, config=run.config, attempts=[])
        elif record.config != run.config:
            if not _equal(run.config, record.config, ROWS):
                # The table of other judges, or of a shorter run, whose baselines had other rates to try.
                (run.folder / EVALUATION).unlink(missing_ok=True)
            record.overrides, record.config = run.overrides, run.config
        record.choices = run.choices  # which older records lack
        self.record = record
        _forget_peaks()
        self.started, self.cpu = time.time(), _cpu_seconds()
        self.now = Attempt(
            started=_timestamp(self.started),
            host=platform.node(),
            slurm_job=os.environ.get("SLURM_JOB_ID"),
            git_commit=run.code.commit,
            git_dirty=bool(run.code.changes),
            outer_steps=None,
            end=None,  # stays None if the process is killed; `until` is when it was last seen
            **self._cost(),
        )
        self._warn_of_other_code()
        self.record.attempts.append(self.now)
        self.save(None)

    def save(self, outer_steps: int | None) -> None:
        """Save the time, what the attempt has cost so far, and the outer steps that a checkpoint holds."""
        for key, value in self._cost().items():
            setattr(self.now, key, value)
        if outer_steps is not None:
            self.now.outer_steps = outer_steps
        save(self.record, self.path)

    def _cost(self) -> dict[str, Any]:
        return {
            "until": _timestamp(time.time()),
            "seconds": round(time.time() - self.started, 2),
            "cpu_seconds": round(_cpu_seconds() - self.cpu, 2),
            "peak_memory_mb": round(_peak_memory() / 2**20),
            "peak_gpu_memory_mb": _peak_gpu_memory(),
        }

    def _warn_of_other_code(self) -> None:
        for earlier in self.record.attempts[-1:]:
            if earlier.git_commit != self.now.git_commit:
                log.warning("the code is no longer that of commit %s: bits may differ", earlier.git_commit)

    def __enter__(self) -> Attempts:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind:
            self.end("failed" if issubclass(kind, Exception) else "interrupted")

    def end(self, how: str) -> None:
        self.now.end = how
        self.save(None)

    def cost(self) -> Cost:
        """Start, end so far, and the sums and peaks over all attempts."""
        self.save(None)
        attempts = self.record.attempts
        gpu = [attempt.peak_gpu_memory_mb for attempt in attempts if attempt.peak_gpu_memory_mb is not None]
        memory = [attempt.peak_memory_mb for attempt in attempts if attempt.peak_memory_mb is not None]
        return Cost(
            started=attempts[0].started,
            ended=self.now.until,
            seconds=round(sum(attempt.seconds for attempt in attempts), 2),
            cpu_seconds=round(sum(attempt.cpu_seconds for attempt in attempts), 2),
            peak_memory_mb=max(memory, default=None),
            peak_gpu_memory_mb=max(gpu, default=None),
        )

    def provenance(self, command: str, origin: dict[str, Any]) -> Provenance:
        """What is needed to repeat the run, and its cost; `origin` names its code, machine and data."""
        attempts = [attempt.model_copy() for attempt in self.record.attempts]
        return Provenance(command=command, **origin, **self.cost().model_dump(), attempts=attempts)


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def _cpu_seconds() -> float:
    """Of this process and of those that it has started and waited for; psutil counts in hundredths."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


def _peak_memory() -> int:
    """The largest resident memory of this process in bytes; psutil gives it on Windows only."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peaks() -> None:
    """Begin the peaks of memory anew where one can: else a multirun's job has those of earlier ones."""
    import torch

    with contextlib.suppress(OSError):  # Linux alone has it
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def _peak_gpu_memory() -> int | None:
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_initialized() else None
