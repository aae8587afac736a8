"""Several loggers at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_distillation.loggers import Logger, Shown

if TYPE_CHECKING:
    import pytorch_lightning.loggers
    from torch import Tensor

    from dataset_distillation.run.run import Run


@dataclass
class Several(Logger):
    """Each of `loggers` is told everything."""

    loggers: dict[str, Logger] = field(default_factory=dict)

    def open(self, run: Run, config: dict[str, Any]) -> list[pytorch_lightning.loggers.Logger]:
        return [opened for logger in self.loggers.values() for opened in logger.open(run, config)]

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        for logger in self.loggers.values():
            logger.images(images, captions, step)

    def finish(
        self, evaluation: Shown | None, artifact: Path | None, cost: dict[str, Any], succeeded: bool
    ) -> None:
        for logger in self.loggers.values():
            logger.finish(evaluation, artifact, cost, succeeded)
