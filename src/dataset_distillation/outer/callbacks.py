"""Lightning callbacks around the outer steps: progress, the last validation, and pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from dataset_distillation.distilled.pictures import panel
from dataset_distillation.loggers import Logger
from dataset_distillation.outer.checkpoints import Best
from dataset_distillation.run.heartbeat import Progress


class ProgressBar(TQDMProgressBar):
    """Shows outer loss, validation metric, speed and time left."""

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
        self.on_train_epoch_start(trainer)  # Lightning omits this call when it resumes in mid-epoch
        self.train_progress_bar.initial = self.train_progress_bar.n = trainer.global_step

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description("distilling")

    def on_exception(self, *_: Any) -> None:
        self.train_progress_bar.close()  # otherwise the error is printed behind the bar


def _outer_steps_per_refresh() -> int:
    """1 in a terminal, 10 in a notebook, which keeps all output, and 200 in a log file."""
    return 1 if sys.stdout.isatty() else 10 if "ipykernel" in sys.modules else 200


class ValidateAtTheEnd(Callback):
    """Validates after the last outer step too, even if `validation_every` does not divide their number.

    The last step is the one with which `minutes` have `elapsed`, if there are so many.
    """

    def __init__(self, minutes: float | None, elapsed: Callable[[], float]) -> None:
        self.minutes, self.elapsed = minutes, elapsed

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        over = self.minutes is not None and self.elapsed() >= 60 * self.minutes
        if trainer.global_step == trainer.max_steps or (
            self.minutes is not None and trainer.strategy.reduce_boolean_decision(over, all=False)
        ):
            trainer.should_stop = True  # makes Lightning validate once more


class Publish(Callback):
    """Keeps `progress` up to date for programs that watch the run from outside, such as distill-status."""

    def __init__(self, progress: Progress, best: Best) -> None:
        self.progress, self.best = progress, best
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since this process began to distill."""
        return time.monotonic() - self.started

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.first = trainer.global_step
        self.started = time.monotonic()
        self.progress.step, self.progress.steps = trainer.global_step, int(trainer.max_steps)
        self.progress.metric = pl_module.problem.objective.metric

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.progress.step = trainer.global_step
        self.progress.steps_per_second = (trainer.global_step - self.first) / self.elapsed

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.progress.validation = self.best.value


class Images(Callback):
    """Sends the distilled images to the logger at each validation."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    @torch.no_grad()
    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        distilled, specification = pl_module.kept, pl_module.problem.data.specification
        in_pixels = specification.pixels(distilled.images.detach().cpu())
        images, names = panel(in_pixels, distilled.targets.detach(), specification.class_names)
        self.logger.images(images, names, trainer.global_step)
