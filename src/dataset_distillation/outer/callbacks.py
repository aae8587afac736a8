"""Lightning callbacks around the outer steps: progress, the last validation, and pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from dataset_distillation.distilled.pictures import panel
from dataset_distillation.loggers import Logger
from dataset_distillation.objectives import Metric
from dataset_distillation.outer.checkpoints import Best
from dataset_distillation.run.heartbeat import Progress
from dataset_distillation.run.progress import Advance


class Shown(Callback):
    """Tells `advance` of each outer step, with its loss and the last value of the validation metric."""

    def __init__(self, advance: Advance, metric: Metric) -> None:
        self.advance, self.metric = advance, metric

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.is_global_zero:
            self.advance(note=lambda: self.note(trainer.callback_metrics))

    def note(self, metrics: Mapping[str, Tensor]) -> str:
        texts = [f"loss {metrics['outer/loss']:.4g}"]
        if (value := metrics.get(f"validation/{self.metric.name}")) is not None:
            per_cent = " %" if self.metric.percent else ""
            texts.append(f"validation {self.metric.unit * value:.4g}{per_cent}")
        return ", ".join(texts)


class ValidateAtTheEnd(Callback):
    """Validates after the last outer step too, even if `validation_every` does not divide their number.

    The last step is the one with which `minutes` have `elapsed`, if there are so many; a run that has ended
    so takes no further step when it is resumed, as after a stop during its evaluation.
    """

    def __init__(self, minutes: float | None, elapsed: Callable[[], float]) -> None:
        self.minutes, self.elapsed = minutes, elapsed

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.global_step and self._over(trainer):
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps or self._over(trainer):
            trainer.should_stop = True  # makes Lightning validate once more

    def _over(self, trainer: pl.Trainer) -> bool:
        if self.minutes is None:
            return False
        over = self.elapsed() >= 60 * self.minutes
        return bool(trainer.strategy.reduce_boolean_decision(over, all=False))


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
        self.progress.validation = self.best.value  # of a run that goes on

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
        self.logger.images(images, names, trainer.global_step - 1)  # as Lightning logs this validation
