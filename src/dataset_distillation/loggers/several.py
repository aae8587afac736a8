"""Several loggers at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_distillation.loggers import EvaluationView, Logger, Title

if TYPE_CHECKING:
    import pytorch_lightning.loggers
    from torch import Tensor


@dataclass
class Several(Logger):
    """Passes everything to each of `loggers`."""

    loggers: dict[str, Logger] = field(default_factory=dict)

    def open(
        self, folder: Path, config: dict[str, Any], title: Title
    ) -> list[pytorch_lightning.loggers.Logger]:
        return [opened for logger in self.loggers.values() for opened in logger.open(folder, config, title)]

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        for logger in self.loggers.values():
            logger.images(images, captions, step)

    def finish(
        self, evaluation: EvaluationView | None, artifact: Path | None, cost: dict[str, Any], succeeded: bool
    ) -> None:
        for logger in self.loggers.values():
            logger.finish(evaluation, artifact, cost, succeeded)
