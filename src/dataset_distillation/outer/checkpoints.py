"""Checkpoints: a run that was killed resumes from the last one and ends with exactly the same bits.

A checkpoint holds the whole state between two outer steps: the distilled data, the outer optimizer and its
schedule, the counters, and the best distilled data so far. It holds no random state, since each draw is
named by its step. The last two are kept: if the newer is damaged, the run resumes from the older.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, BinaryIO

import pytorch_lightning as pl
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from dataset_distillation.errors import UserError, damaged, first_problem
from dataset_distillation.files import opened, write
from dataset_distillation.networks.weights import unpickled
from dataset_distillation.objectives import Metric
from dataset_distillation.run.folder import CHECKPOINT, checkpoints
from dataset_distillation.run.interruption import TOGETHER, Handler, listeners

log = logging.getLogger(__name__)

_DIGEST = hashlib.sha256().digest_size
_NUMBER = 2
_ZIP = b"PK\3\4"  # what torch.save's files begin with
LARGEST = 2**34  # bytes of a checkpoint


class _Contents(BaseModel):
    """The keys that a checkpoint needs; whether the values fit the module shows when they are restored."""

    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True)

    state_dict: dict[str, Tensor]
    optimizer_states: list[dict[str, Any]]
    lr_schedulers: list[dict[str, Any]]
    loops: dict[str, Any]
    callbacks: dict[str, dict[str, Any]]
    global_step: int = Field(ge=0)
    skipped: list[Annotated[int, Field(ge=0, lt=10**12)]] = Field(min_length=2, max_length=2)
    mean_norm: Tensor | None = None
    key: str = ""  # version 0.1 had none


_KEYS = set(_Contents.model_fields)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code that the file may contain.

    Raises FileError if the file cannot be read or is not as it was written.
    """
    with opened(path, LARGEST) as file:
        try:
            _check_digest(file)
            checkpoint = unpickled(file)
            if not isinstance(checkpoint, dict):
                raise ValueError("it holds no keys and values")
            _Contents.model_validate({key: value for key, value in checkpoint.items() if key in _KEYS})
        except ValidationError as error:
            raise damaged(path, "a checkpoint", first_problem(error)) from error
        except (OSError, ValueError) as error:
            raise damaged(path, "a checkpoint", error) from error
    return checkpoint


def _check_digest(file: BinaryIO) -> None:
    """Raise ValueError unless the file ends with the SHA-256 of what is before it."""
    if file.read(len(_ZIP)) != _ZIP:
        raise ValueError("it does not begin as one")
    digest, left = hashlib.sha256(_ZIP), os.fstat(file.fileno()).st_size - len(_ZIP) - _DIGEST
    while left > 0 and (part := file.read(min(left, 2**20))):
        digest.update(part)
        left -= len(part)
    if file.read() != digest.digest():
        raise ValueError("its checksum does not match")


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, each followed by its SHA-256, and written completely or not at all."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write(Path(path), content.getvalue() + hashlib.sha256(content.getvalue()).digest())

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return load(Path(path))


def newest(folder: Path, keys: Sequence[str]) -> Path | None:
    """Return the last checkpoint in `folder` that is not damaged, or None.

    keys: those of the problem, as this version and older ones write them.

    Raises UserError if it belongs to another problem.
    """
    for path in reversed(checkpoints(folder)):
        try:
            checkpoint = load(path)
        except UserError as error:
            log.warning("%s; resuming from the checkpoint before it, or from the start", error)
            continue
        if "key" not in checkpoint:  # version 0.1 wrote a checksum over the text of all options
            log.warning(
                "%s: from an older version; it cannot be checked that data and weights are the same", path
            )
        elif checkpoint["key"] not in keys:
            what = "the config, the data, the weights of θ0 or the code of your network"
            raise UserError(f"{path}: {what} have changed since the run started; start a new run")
        return path
    return None


def step_of(checkpoint: Path | None) -> int:
    """The number of outer steps that were done when `checkpoint` was written; 0 without one."""
    return int(checkpoint.stem.removeprefix("step_")) if checkpoint else 0


class Checkpoints(Callback):
    """Writes a checkpoint every `seconds`, when training ends, and before the process obeys a signal.

    A signal waits for the end of the outer step, and of the validation that follows it. The same signal, once
    more after a moment, does not wait.
    """

    def __init__(
        self, folder: Path, key: str, seconds: float, last: Path | None, saved: Callable[[int], None]
    ) -> None:
        self.folder, self.key, self.seconds, self.saved = folder, key, seconds, saved
        self.paths = [last] if last else []
        self.written = self.started = time.monotonic()
        self.before = 0.0  # seconds of earlier attempts
        self.listeners = listeners()
        self.received: int | None = None
        self.noted = 0.0
        self.resumed = False  # whether all of `last` has been restored

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        checkpoint["key"] = self.key

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        _check_shapes(checkpoint, pl_module)
        check_counts(checkpoint, step_of(self.paths[-1]), int(trainer.max_steps))

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed": self.elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not 0 <= (before := float(state_dict["elapsed"])) < 1e12:
            raise ValueError(f"it took {before} s")
        self.before = before

    @property
    def elapsed(self) -> float:
        """Seconds of distillation, over all attempts."""
        return self.before + time.monotonic() - self.started

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.written = time.monotonic()
        self.resumed = True
        # This replaces Lightning's own handler of SIGTERM, which would end the run without a checkpoint.
        # Lightning's teardown restores the handlers that were set before.
        self._listen(self._note)

    def _listen(self, listener: Handler | None = None) -> None:
        for signum, earlier in self.listeners.items():
            signal.signal(signum, listener or earlier)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received != signum:
            self.received, self.noted = signum, now
        elif now - self.noted >= TOGETHER:
            self.listeners[signum](signum, frame)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        # When Lightning resumes in mid-epoch, it counts one step too many, for logs and for validation.
        loop = trainer.fit_loop.epoch_loop
        loop._batches_that_stepped = trainer.global_step
        loop.batch_progress.total.ready = trainer.global_step + 1
        due = self.received is not None or time.monotonic() - self.written >= self.seconds
        if trainer.global_step and trainer.strategy.reduce_boolean_decision(due, all=False):
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._listen()
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        path = self.folder / CHECKPOINT.format(f"{trainer.global_step:08}")
        for logger in trainer.loggers:
            logger.save()  # the curves reach at least as far as the checkpoint
        trainer.save_checkpoint(path, weights_only=False)
        self.written = time.monotonic()
        if trainer.is_global_zero:
            self.paths = [*(earlier for earlier in self.paths if earlier != path), path][-_NUMBER:]
            # This also removes what a killed attempt left half-written: no other process writes here.
            for old in set(self.folder.glob(f"*{CHECKPOINT.format('*')}*")) - set(self.paths):
                old.unlink()
            self.saved(trainer.global_step)
        # Call the earlier handler of the signal that was received; if it returns, training goes on.
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            signum, self.received = self.received or signal.SIGTERM, None
            self.listeners[signum](signum, None)


class Best(Callback):
    """Keeps the distilled data with the best validation `metric`; of equal ones, the earliest.

    A value that is not finite is never the best.

    The data are stored in the checkpoint and not in a file of their own, because two files cannot be replaced
    in one atomic operation.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.value: float | None = None
        self.distilled: dict[str, Tensor] | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = float(trainer.callback_metrics[f"validation/{self.metric.name}"])
        if not math.isfinite(value):
            return
        if self.value is None or self.metric.best([value, self.value]) != self.value:
            self.value = value
            self.distilled = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "distilled": self.distilled}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.value, self.distilled = state_dict["value"], state_dict["distilled"]
        lowest, highest = (0, 1) if self.metric.percent else (-math.inf, math.inf)
        if self.value is not None and not lowest <= self.value <= highest:
            raise ValueError(f"its best {self.metric.name} is {self.value}")


def _check_shapes(checkpoint: dict[str, Any], module: pl.LightningModule) -> None:
    """Raise ValueError unless Adam's state and the best data have the shapes of the module's parameters.

    Neither torch nor Lightning looks before they are used.
    """
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    best = checkpoint["callbacks"]["Best"]["distilled"]
    if best is not None and {name: tensor.shape for name, tensor in best.items()} != shapes:
        raise ValueError("its best distilled data have other shapes")
    for number, parameter in enumerate(module.parameters()):
        for name, value in checkpoint["optimizer_states"][0]["state"].get(number, {}).items():
            if value.shape not in (parameter.shape, torch.Size([])):
                raise ValueError(f"{name} has the shape {tuple(value.shape)}, not {tuple(parameter.shape)}")


def check_counts(checkpoint: dict[str, Any], step: int, steps: int) -> None:
    """Raise ValueError unless all counts of outer steps are `step`, that of its name, and at most `steps`.

    Lightning resumes at the count of its loops, the schedule and Adam at theirs, and the curves at `step`.
    """
    loop, progress = "epoch_loop.", checkpoint["loops"]["fit_loop"]
    optimizer = progress[f"{loop}automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]
    counts = [
        ("global_step", checkpoint["global_step"]),
        ("the loop", progress[f"{loop}batch_progress"]["total"]["completed"]),
        ("the optimizer", optimizer["completed"]),
        *(("the schedule", schedule["last_epoch"]) for schedule in checkpoint["lr_schedulers"]),
    ]
    for name, count in counts:
        if count != step:
            raise ValueError(f"it is of outer step {step}, and {name} counts {count}")
    if step > steps:
        raise ValueError(f"it is of outer step {step}, and outer.steps={steps}")
    skipped, in_a_row = checkpoint["skipped"]
    if not in_a_row <= skipped <= step:
        raise ValueError(f"of {step} outer steps it skipped {skipped}, the last {in_a_row}")
    for state in checkpoint["optimizer_states"][0]["state"].values():
        if not 0 <= state["step"] <= step - skipped:  # none where a parameter has no gradient
            raise ValueError(f"Adam counts {float(state['step'])} of {step - skipped} steps")
