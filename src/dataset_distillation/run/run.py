"""One run: where it writes, and what it was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_distillation.errors import UserError
from dataset_distillation.files import write
from dataset_distillation.run.folder import CHANGES, RESULT
from dataset_distillation.run.heartbeat import Progress
from dataset_distillation.run.provenance import Code
from dataset_distillation.run.records import Result, save


@dataclass(frozen=True)
class Run:
    """Where a run writes, and what it was asked for."""

    folder: Path
    config: dict[str, Any]  # the resolved experiment
    choices: dict[str, str]  # the chosen file of each group
    overrides: list[str]
    command: str = ""  # that repeats it: of a job of a multirun, its own
    progress: Progress = field(default_factory=Progress)
    code: Code = field(default_factory=Code.running)

    def record(self, result: Result) -> None:
        """Write `result.json`: the outcome, and what was asked for."""
        result.choices, result.overrides, result.config = self.choices, self.overrides, self.config
        save(result, self.folder / RESULT)

    def record_failure(self, error: BaseException) -> None:
        message = " ".join(str(error).split())
        message = message if isinstance(error, UserError) else f"{type(error).__name__}: {message}"
        self.record(Result(status="failed", error=message))

    def keep_changes(self) -> None:
        """Write `uncommitted.diff`, if the code is not that of the commit."""
        if self.code.changes:
            write(self.folder / CHANGES, self.code.changes)
