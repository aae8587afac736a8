"""No logger: the run folder has the results in any case."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.loggers import Logger


@dataclass
class Nothing(Logger):
    """Logs nothing."""
