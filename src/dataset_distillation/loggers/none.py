"""No logger: the run folder has the results all the same."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.loggers import Logger


@dataclass
class Nothing(Logger):
    """Log nowhere."""
