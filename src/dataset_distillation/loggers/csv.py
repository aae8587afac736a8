"""The curves as a CSV file in the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_distillation.loggers import Logger

if TYPE_CHECKING:
    import pytorch_lightning.loggers


@dataclass
class Csv(Logger):
    """`csv/metrics.csv` in the run folder, one row a logged step."""

    def open(self, folder: Path, config: dict[str, Any]) -> pytorch_lightning.loggers.Logger:
        from pytorch_lightning.loggers import CSVLogger

        return CSVLogger(folder, name="csv", version="")
