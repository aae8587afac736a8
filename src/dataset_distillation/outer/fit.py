"""The outer optimisation: Lightning's Trainer around the module, and what becomes of its best checkpoint."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.callbacks import Images, Progress, Publish, ValidateAtTheEnd
from dataset_distillation.outer.checkpoints import Best, Checkpoints, WholeCheckpoints, step_of
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.run import heartbeat, processes
from dataset_distillation.run.history import History
from dataset_distillation.run.interruption import Interrupted

log = logging.getLogger(__name__)


def fit(
    module: DistillationModule,
    loggers: Any,
    folder: Path,
    last: Path | None = None,
    saved: Callable[[int], None] = lambda step: None,
    progress: heartbeat.Progress | None = None,
) -> dict[str, Any]:
    """Run the outer optimisation and leave in `module` the distilled data that validate best.

    Goes on from the checkpoint `last`; `saved` is told the outer step of each new one. `progress` is kept
    up to date.
    """
    e = module.problem.experiment
    metric = e.objective.metric
    if last:
        log.info("going on after outer step %s of %s", step_of(last), e.outer.steps)
    best = Best(metric)
    checkpoints = Checkpoints(folder / "checkpoints", e.trainer.checkpoint_seconds, last, saved)
    callbacks: list[pl.Callback] = [ValidateAtTheEnd(), best, checkpoints, Images(e.logger)]
    callbacks.append(Publish(progress or heartbeat.Progress(), best))
    if e.trainer.progress_bar:
        callbacks.append(Progress())
    interrupted = {}
    with _quiet():
        trainer = _trainer(e, callbacks, [*(loggers or []), History(folder, step_of(last))])
    try:
        with _quiet():
            trainer.fit(module, ckpt_path=last, weights_only=True)
    except Interrupted as signal:
        interrupted = {"status": "interrupted", "signal": str(signal)}
    finally:
        if best.distilled:
            module.load_state_dict(best.distilled)
    steps, seconds = trainer.global_step, checkpoints.elapsed
    return {
        "status": "finished",
        **interrupted,
        "metric": metric,
        f"validation_{metric}": best.value,
        "outer_steps": steps,
        "skipped_steps": module.skipped,
        "distillation_seconds": round(seconds, 2),
        "outer_steps_per_second": round(steps / seconds, 3),
    }


def _trainer(e: Experiment, callbacks: list[pl.Callback], loggers: Any) -> pl.Trainer:
    return pl.Trainer(
        max_steps=e.outer.steps,
        accelerator=e.trainer.accelerator,
        devices=e.trainer.devices,
        strategy=e.trainer.strategy,
        precision=e.trainer.precision,  # type: ignore[arg-type]
        logger=loggers,
        callbacks=callbacks,
        enable_checkpointing=False,  # by Lightning: ours are written by `Checkpoints`
        plugins=[WholeCheckpoints(), processes.environment(e.trainer.devices)],
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
        warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        warnings.filterwarnings("ignore", ".*`srun`.*")  # a single process on a cluster's login node
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # each process validates the same
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # a run in the folder of another
        yield
