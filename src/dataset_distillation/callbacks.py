"""What happens around the outer steps: progress, Ctrl-C, pictures."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.plugins.io import TorchCheckpointIO

from dataset_distillation.distilled import pixels
from dataset_distillation.files import write
from dataset_distillation.loggers import Logger
from dataset_distillation.report.images import visible


class Progress(TQDMProgressBar):
    """Outer loss, validation accuracy, speed and time left; rarely refreshed where nobody watches."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1 if sys.stdout.isatty() else 200)

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)  # a validation takes a second

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description("distilling")

    def on_exception(self, *_: Any) -> None:
        self.train_progress_bar.close()  # else the error would stand behind the bar


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that replace the ones before in one stroke, or, on a full disk, leave them as they were."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write(Path(path), content.getvalue())


class StopOnInterrupt(Callback):
    """The first Ctrl-C ends the outer optimisation after the step it is in; a second one ends the program."""

    interrupted = False
    previous: Any = signal.default_int_handler

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        def stop(*_: Any) -> None:
            self.interrupted = trainer.should_stop = True
            signal.signal(signal.SIGINT, self.previous)

        self.previous = signal.signal(signal.SIGINT, stop)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        signal.signal(signal.SIGINT, self.previous)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        signal.signal(signal.SIGINT, self.previous)


class ValidateAtTheEnd(Callback):
    """The last outer step is validated too, whether or not `validation_every` divides their number."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # upon which Lightning validates once more


class Images(Callback):
    """Shows the logger the distilled images at each validation."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    @torch.no_grad()
    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        distilled, specification = pl_module.distilled, pl_module.problem.data.specification
        shown = visible(pixels(distilled.images.detach().cpu(), specification.mean, specification.std))
        rows = [torch.cat(list(images), dim=2) for images in shown]  # a picture a step: its images in a row
        names = [
            ", ".join(specification.class_names[c] for c in labels) for labels in distilled.labels.tolist()
        ]
        captions = [f"step {step}: {classes}" for step, classes in enumerate(names)]
        self.logger.images(rows, captions, trainer.global_step)
