"""One run: its folder and its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_distillation.errors import UserError
from dataset_distillation.files import write
from dataset_distillation.run.folder import CHANGES, RESULT
from dataset_distillation.run.heartbeat import Progress
from dataset_distillation.run.provenance import Code
from dataset_distillation.run.records import Result, save


def program_of(config: Mapping[Any, Any]) -> str:
    """Return the program whose runs have such a config."""
    return "distill-evaluate" if "artifact" in config else "distill"


@dataclass(frozen=True)
class Run:
    """Where a run writes, and the config, choices and overrides that it was started with."""

    folder: Path
    config: dict[str, Any]  # the resolved experiment
    choices: dict[str, str]  # the chosen file of each group
    overrides: list[str]
    command: str = ""  # the command that repeats this run; a job of a multirun has its own
    progress: Progress = field(default_factory=Progress)
    code: Code = field(default_factory=Code.running)

    def record(self, result: Result) -> None:
        """Write `result.json`: the outcome, with the config, choices and overrides."""
        result.choices, result.overrides, result.config = self.choices, self.overrides, self.config
        save(result, self.folder / RESULT)

    def record_failure(self, error: BaseException) -> None:
        message = " ".join(str(error).split())
        message = message if isinstance(error, UserError) else f"{type(error).__name__}: {message}"
        self.record(Result(status="failed", error=message))

    def keep_changes(self) -> None:
        """Write `uncommitted.diff` if the code differs from its commit."""
        if self.code.changes:
            write(self.folder / CHANGES, self.code.changes)
