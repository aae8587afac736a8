"""TensorBoard: `tensorboard --logdir sweeps` shows the runs of all sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dataset_distillation.errors import install, refuse
from dataset_distillation.loggers import EvaluationView, Logger, Title

if TYPE_CHECKING:
    import pytorch_lightning.loggers
    from torch import Tensor


@dataclass
class Tensorboard(Logger):
    """Curves, images, config and final table in `tensorboard/` in the run folder."""

    def open(
        self, folder: Path, config: dict[str, Any], title: Title
    ) -> list[pytorch_lightning.loggers.Logger]:
        from pytorch_lightning.loggers import TensorBoardLogger

        try:
            logger = TensorBoardLogger(folder, name="tensorboard", version="")
            self._writer = logger.experiment
        except ModuleNotFoundError as error:
            raise refuse("logger", "tensorboard", str(error), install("tensorboard")) from error
        self._writer.add_text("config", f"```\n{yaml.safe_dump(config, sort_keys=False)}\n```")
        self._logger, self._config = logger, config
        return [logger]

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        from dataset_distillation.distilled.pictures import labeled

        self._writer.add_image("distilled", labeled(images, captions), step, dataformats="HWC")

    def finish(
        self, evaluation: EvaluationView | None, artifact: Path | None, cost: dict[str, Any], succeeded: bool
    ) -> None:
        if evaluation is not None:
            text = evaluation.methods.to_string(index=False)
            self._writer.add_text("evaluation", f"```\n{text}\n```")
            means = evaluation.methods.set_index("method")["mean"].dropna()
            metrics = {f"evaluation/{method}/mean": float(mean) for method, mean in means.items()}
            self._logger.log_hyperparams(self._config, metrics)  # the table of runs, and each as a scalar
            for name, drawn in evaluation.charts().items():
                self._writer.add_figure(f"evaluation/{name}", drawn)
        lines = "\n".join(f"{key}: {value}" for key, value in cost.items())
        self._writer.add_text("cost", f"```\n{lines}\n```")
        self._writer.close()
