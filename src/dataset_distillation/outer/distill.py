"""Distillation as a function of Python values: no config, no files."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import torch

from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.options import Distilled
from dataset_distillation.distilled.start import start
from dataset_distillation.errors import instance
from dataset_distillation.evaluation.options import Evaluation, Training
from dataset_distillation.outer.choice import advise, chosen
from dataset_distillation.outer.describe import describe
from dataset_distillation.outer.fit import fit
from dataset_distillation.outer.memory import check_memory
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.outer.options import Accelerator, Outer, Trainer
from dataset_distillation.problem import Problem
from dataset_distillation.run.interruption import interruptible
from dataset_distillation.run.progress import show_bars
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.full import Full


def distill(
    problem: Problem,
    distilled: Distilled | None = None,
    outer: Outer | None = None,
    *,
    unroll: Unroll | None = None,
    evaluation: Evaluation | None = None,
    training: Training | None = None,
    trainer: Trainer | None = None,
) -> DistilledSet:
    """Distill the train split of `problem` (Algorithm 1), on the device of its network.

    distilled: how many images, steps and epochs; `Distilled()` is the paper's 1 image per class and step, in
        10 steps and 3 epochs.
    outer: the optimizer of images and learning rates, and its number of steps.
    unroll: how gradients cross the inner steps; by default `Full()`, which keeps the whole graph. `Auto()` is
        the fastest engine for this network and machine.
    evaluation: how often, and by how many networks, the data are validated; the best data are returned.
    training: how networks are trained on the data when these are validated, if not as the data are made for.
    trainer: threads, precision, and whether a progress bar is shown.

    The same problem, options and number of threads give the same data. Ctrl-C breaks off the current
    outer step, with a warning; the data that validated best until then are returned.

    Raises ConfigError, with a message of one line, if the options do not fit each other, and UserError if
    the meta-gradient is not finite in too many outer steps in a row (`Outer.max_skipped`).
    """
    distilled, outer, unroll = distilled or Distilled(), outer or Outer(), unroll or Full()
    evaluation, training, trainer = evaluation or Evaluation(), training or Training(), trainer or Trainer()
    for name, options, kind in (
        ("problem", problem, Problem), ("distilled", distilled, Distilled), ("outer", outer, Outer),
        ("unroll", unroll, Unroll), ("evaluation", evaluation, Evaluation),
        ("training", training, Training), ("trainer", trainer, Trainer),
    ):  # fmt: skip
        instance(name, options, kind)
    device = problem.device.type
    trainer = replace(trainer, accelerator=Accelerator("gpu" if device == "cuda" else device))
    distilled.check(problem.objective, problem.data.specification.name)
    distilled.check_begin()
    outer.check(*problem.data.specification.shape[:2])
    unroll.check(distilled.unrolled)
    trainer.check(problem.init.networks)
    problem.check_networks(0, evaluation.validation_networks)
    with _settings(trainer), interruptible((signal.SIGINT,)):
        data = start(distilled, problem.data.train, problem.seed).to(problem.device)
        engine = chosen(unroll, problem, data, outer, problem.init.networks)
        module = DistillationModule(problem, data, outer, engine, evaluation, training, trainer.devices)
        check_memory(module.outer_loss, trainer)
        advise(unroll, data)
        members = problem.init.members(evaluation.validation_networks)
        problem.init.prepare(problem.origin, members)
        fitted = fit(module, trainer)
    if fitted.signal:
        done = f"interrupted after {fitted.outer_steps} of {outer.steps} outer steps"
        warnings.warn(f"{done}; the best distilled data until then are returned", stacklevel=2)
    groups: dict[str, Any] = {
        "objective": problem.objective,
        "init": problem.init,
        "inner_optimizer": problem.inner_optimizer,
        "augmentation": problem.augmentation,
        "distilled": distilled,
        "unroll": unroll,
        "outer": outer,
        "evaluation": evaluation,
        "training": training,
    }
    more = {
        "config": {**{group: asdict(options) for group, options in groups.items()}, "seed": problem.seed},
        "seed": problem.seed,
        "data_checksum": problem.data.checksum,
        "outer_steps": fitted.outer_steps,
    }
    return describe(problem, module.kept, more, distilled.store_whitening)


@contextmanager
def _settings(trainer: Trainer) -> Iterator[None]:
    """Set torch's threads and determinism as `trainer` says; restore them, and the generator, afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(trainer.threads or threads)
    show_bars(trainer.progress_bar)
    torch.use_deterministic_algorithms(trainer.deterministic or deterministic)
    try:
        # Lightning's loaders draw from the global generator, and the caller may be under no_grad.
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
