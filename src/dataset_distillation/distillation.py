"""The outer optimisation: Lightning's Trainer around the module, and what becomes of its best checkpoint."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from dataset_distillation.callbacks import (
    Images,
    Progress,
    StopOnInterrupt,
    ValidateAtTheEnd,
    WholeCheckpoints,
)
from dataset_distillation.config import Experiment
from dataset_distillation.module import DistillationModule


def distill(module: DistillationModule, logger: Any, folder: Path) -> dict[str, Any]:
    """Run the outer optimisation and leave in `module` the distilled data of the best validation accuracy."""
    e = module.problem.experiment
    checkpoints = ModelCheckpoint(
        folder / "checkpoints",
        filename="best",
        monitor="validation/accuracy",
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    interrupt = StopOnInterrupt()
    callbacks: list[pl.Callback] = [ValidateAtTheEnd(), checkpoints, interrupt, Images(e.logger)]
    if e.trainer.progress_bar:
        callbacks.append(Progress())
    begun = time.perf_counter()
    try:
        with _quiet():
            _trainer(e, callbacks, logger).fit(module)
    finally:
        if checkpoints.best_model_path:
            state = torch.load(checkpoints.best_model_path, weights_only=True)["state_dict"]
            module.load_state_dict(state)
    seconds = time.perf_counter() - begun
    return {
        "status": "interrupted" if interrupt.interrupted else "finished",
        "validation_accuracy": None if (score := checkpoints.best_model_score) is None else float(score),
        "outer_steps": module.trainer.global_step,
        "skipped_steps": module.skipped,
        "distillation_seconds": round(seconds, 2),
        "outer_steps_per_second": round(module.trainer.global_step / seconds, 3),
    }


def _trainer(e: Experiment, callbacks: list[pl.Callback], logger: Any) -> pl.Trainer:
    return pl.Trainer(
        max_steps=e.outer.steps,
        accelerator=e.trainer.accelerator,
        devices=1,
        precision=e.trainer.precision,  # type: ignore[arg-type]
        logger=logger or False,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        val_check_interval=min(e.evaluation.validation_every, e.outer.steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, e.outer.steps),
        enable_progress_bar=e.trainer.progress_bar,
        enable_model_summary=False,
        inference_mode=False,  # validation trains networks
        use_distributed_sampler=False,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice about loaders that only count, and its notes on hardware, are no news here."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # a run in the folder of another
        yield
