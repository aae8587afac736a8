"""The outer optimization: Lightning's Trainer around the module, and its best distilled data."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger as LightningLogger

from dataset_distillation.errors import UserError, damaged
from dataset_distillation.loggers import Logger
from dataset_distillation.outer.callbacks import Images, Publish, Shown, ValidateAtTheEnd
from dataset_distillation.outer.checkpoints import Best, Checkpoints, WholeCheckpoints, step_of
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.outer.options import Outer, Trainer
from dataset_distillation.run import processes
from dataset_distillation.run.heartbeat import Progress
from dataset_distillation.run.interruption import Interrupted
from dataset_distillation.run.progress import progress as shown

log = logging.getLogger(__name__)


class Store(NamedTuple):
    """Where checkpoints are written, and the checkpoint that the run resumes from.

    `key` identifies what the run depends on, `last` is the checkpoint to resume from, and `saved` is called
    with the outer step of each new checkpoint.
    """

    folder: Path
    key: str
    last: Path | None = None
    saved: Callable[[int], None] = lambda step: None


class Fitted(NamedTuple):
    """How the outer optimization ended: the signal that ended it, if any, and the best validation metric."""

    signal: str | None
    validation: float | None
    outer_steps: int
    skipped_steps: int
    seconds: float


def fit(
    module: DistillationModule,
    options: Trainer,
    *,
    store: Store | None = None,
    curves: Sequence[LightningLogger] = (),
    logger: Logger | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Run the outer optimization and leave the distilled data that validate best in `module`.

    Scalars go to `curves`, images to `logger`; `progress` is kept up to date. Without a `store` no file is
    written.
    """
    last = store.last if store else None
    done, steps = step_of(last) if last else 0, module.outer.steps
    if last:
        log.info("resuming after outer step %s of %s", done, steps)
    best, progress = Best(module.problem.objective.metric), progress or Progress()
    publish = Publish(progress, best)
    checkpoints = None
    elapsed = lambda: checkpoints.elapsed if checkpoints else publish.elapsed  # noqa: E731
    callbacks: list[pl.Callback] = [ValidateAtTheEnd(module.outer.minutes, elapsed), best, publish]
    if store:
        checkpoints = Checkpoints(store.folder, store.key, options.checkpoint_seconds, last, store.saved)
        callbacks.insert(2, checkpoints)
    if logger:
        callbacks.append(Images(logger))
    signal = None
    with _quiet(), shown("distilling", steps, done) as advance:
        callbacks.append(Shown(advance, best.metric))
        trainer = _trainer(module, options, callbacks, curves)
        try:
            trainer.fit(module, ckpt_path=last, weights_only=True)
        except Interrupted as interrupted:
            signal = str(interrupted)
        except Exception as error:
            if not last or not checkpoints or checkpoints.resumed or isinstance(error, UserError):
                raise
            best.distilled = None
            raise damaged(last, "a checkpoint of this run", error) from error
        finally:
            if best.distilled:
                module.load_state_dict(best.distilled)
    if signal is None and best.value is None:
        text = "no validation was finite: the distilled data are those of the last outer step; %s"
        log.warning(text, "lower distilled.learning_rate or the outer learning rates")
    if signal is None and trainer.global_step < steps:
        _tell_of_minutes(module.outer, trainer.global_step)
    return Fitted(signal, best.value, trainer.global_step, module.skipped, elapsed())


def _tell_of_minutes(outer: Outer, done: int) -> None:
    """Say that a run ended by its minutes, and what its schedule lacks."""
    text = f"outer.minutes={outer.minutes:g} ended the run after {done:,} of {outer.steps:,} outer steps"
    if outer.schedule == "cosine":
        share, remedy = 100 * outer.factor(done), f"outer.steps={done} takes them down to 0 in this time"
        text += f", with learning rates at {share:.0f} % of their start; {remedy}"
    log.warning("%s", text)


def _trainer(
    module: DistillationModule,
    options: Trainer,
    callbacks: list[pl.Callback],
    curves: Sequence[LightningLogger],
) -> pl.Trainer:
    steps, index = module.outer.steps, module.problem.device.index
    return pl.Trainer(
        max_steps=steps,
        accelerator=options.accelerator,
        # The network of a Python program may be on another GPU than the first.
        devices=[index] if index and options.devices == 1 else options.devices,
        strategy=options.strategy,
        precision=options.precision,  # type: ignore[arg-type]
        logger=list(curves) or False,
        callbacks=callbacks,
        enable_checkpointing=False,  # `Checkpoints` writes them instead of Lightning
        plugins=[WholeCheckpoints(), processes.environment(options.devices)],
        val_check_interval=min(module.evaluation.validation_every, steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, steps),
        enable_progress_bar=False,  # `Shown` tells the progress instead of Lightning
        enable_model_summary=False,
        inference_mode=False,  # validation trains networks
        use_distributed_sampler=False,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice on loaders, which only count here, and its notes on the hardware."""
    notes = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = notes.level
    notes.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*")
            warnings.filterwarnings("ignore", ".*`srun`.*")  # a single process on a cluster's login node
            warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # each process validates the same
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # a run in the folder of another
            yield
    finally:
        notes.setLevel(level)
