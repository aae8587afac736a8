"""The curves as a CSV file in the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation.loggers import Logger

if TYPE_CHECKING:
    import pytorch_lightning.loggers

    from dataset_distillation.provenance import Run


@dataclass
class Csv(Logger):
    """`csv/metrics.csv` in the run folder, one row a logged step."""

    def open(self, run: Run, config: dict[str, Any]) -> list[pytorch_lightning.loggers.Logger]:
        from pytorch_lightning.loggers import CSVLogger

        return [CSVLogger(run.folder, name="csv", version="")]
