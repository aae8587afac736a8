"""What happens around the outer steps: progress, Ctrl-C, pictures."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from dataset_distillation.loggers import Logger
from dataset_distillation.report.images import captions, visible


class Progress(TQDMProgressBar):
    """Outer loss, validation accuracy, speed and time left; rarely refreshed where nobody watches."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1 if sys.stderr.isatty() else 200)

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)  # a validation takes a second

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description("distilling")


class StopOnInterrupt(Callback):
    """The first Ctrl-C ends the outer optimisation after the step it is in; a second one ends the program."""

    interrupted = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        def stop(*_: Any) -> None:
            self.interrupted = trainer.should_stop = True
            signal.signal(signal.SIGINT, self.previous)

        self.previous = signal.signal(signal.SIGINT, stop)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        signal.signal(signal.SIGINT, self.previous)


class Images(Callback):
    """Shows the logger the distilled images at each validation."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    @torch.no_grad()
    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        distilled, specification = pl_module.distilled, pl_module.problem.data.specification
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (specification.mean, specification.std))
        shown = visible(distilled.images.detach().cpu() * std + mean).flatten(0, 1)
        self.logger.images(
            shown, captions(distilled.labels.cpu(), list(specification.class_names)), trainer.global_step
        )
