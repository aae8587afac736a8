"""One run: where it writes, and what it was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_distillation.errors import UserError
from dataset_distillation.files import write, write_json
from dataset_distillation.run.heartbeat import Progress
from dataset_distillation.run.provenance import Code


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

    def record(self, result: dict[str, Any]) -> None:
        """Write `result.json`: the outcome, and what was asked for."""
        asked = {"choices": self.choices, "overrides": self.overrides, "config": self.config}
        write_json(self.folder / "result.json", {**result, **asked})

    def record_failure(self, error: BaseException) -> None:
        message = " ".join(str(error).split())
        message = message if isinstance(error, UserError) else f"{type(error).__name__}: {message}"
        self.record({"status": "failed", "error": message})

    def keep_changes(self) -> None:
        """Write `uncommitted.diff`, if the code is not that of the commit."""
        if self.code.changes:
            write(self.folder / "uncommitted.diff", self.code.changes)
