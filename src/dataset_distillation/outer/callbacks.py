"""What happens around the outer steps: progress, pictures."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from dataset_distillation.distilled.data import pixels
from dataset_distillation.distilled.pictures import panel
from dataset_distillation.loggers import Logger
from dataset_distillation.outer.checkpoints import Best
from dataset_distillation.run.heartbeat import Progress


class ProgressBar(TQDMProgressBar):
    """Outer loss, validation metric, speed and time left; rarely refreshed where nobody watches."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=_outer_steps_per_refresh())

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)  # a validation takes a second

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_start(trainer)
        self.on_train_epoch_start(trainer)  # which Lightning leaves out where it goes on in mid-epoch
        self.train_progress_bar.initial = self.train_progress_bar.n = trainer.global_step

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description("distilling")

    def on_exception(self, *_: Any) -> None:
        self.train_progress_bar.close()  # else the error would stand behind the bar


def _outer_steps_per_refresh() -> int:
    """Each in a terminal; fewer in a notebook, which keeps what was written; few in a log."""
    return 1 if sys.stdout.isatty() else 10 if "ipykernel" in sys.modules else 200


class ValidateAtTheEnd(Callback):
    """The last outer step is validated too, whether or not `validation_every` divides their number."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # upon which Lightning validates once more


class Publish(Callback):
    """Tells those who watch from outside how far the run is (status.py)."""

    def __init__(self, progress: Progress, best: Best) -> None:
        self.progress, self.best = progress, best
        self.begun = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since this process began to distil."""
        return time.monotonic() - self.begun

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.first = trainer.global_step
        self.begun = time.monotonic()
        self.progress.step, self.progress.steps = trainer.global_step, int(trainer.max_steps)
        self.progress.metric = pl_module.problem.objective.metric

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.progress.step = trainer.global_step
        self.progress.steps_per_second = (trainer.global_step - self.first) / self.elapsed

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.progress.validation = self.best.value


class Images(Callback):
    """Shows the logger the distilled images at each validation."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    @torch.no_grad()
    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        distilled, specification = pl_module.distilled, pl_module.problem.data.specification
        shown = pixels(distilled.images.detach().cpu(), specification.mean, specification.std)
        images, names = panel(shown, distilled.labels, specification.class_names)
        self.logger.images(images, names, trainer.global_step)
