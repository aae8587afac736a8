"""The steps from a dataset to a report, in order: see `_run`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dataset_distillation.distilled.pictures import or_a_line, write_images, write_real
from dataset_distillation.distilled.start import start
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.checkpoints import newest, step_of
from dataset_distillation.outer.choice import advise, as_recorded, chosen, recorded
from dataset_distillation.outer.describe import describe
from dataset_distillation.outer.fit import Store, fit
from dataset_distillation.outer.memory import check_memory
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.pipeline.dashboard import Dashboard, opened
from dataset_distillation.pipeline.evaluate import judge
from dataset_distillation.pipeline.prepare import (
    data_of,
    keys_of,
    origin_of,
    prepare,
    pretrain,
    warn_of_augmentation,
)
from dataset_distillation.problem import Problem
from dataset_distillation.run.attempts import Attempts
from dataset_distillation.run.folder import ARTIFACT, CHECKPOINTS, IMAGES, RUN, checkpoints
from dataset_distillation.run.history import History
from dataset_distillation.run.records import EvaluationRow, Result, RunRecord, read
from dataset_distillation.run.run import Run
from dataset_distillation.unroll.auto import Auto

log = logging.getLogger(__name__)

#: Groups whose choices have their own keys in the metadata of an artifact.
NAMED = ("architecture", "init", "objective", "inner_optimizer")


def distill(experiment: Experiment, run: Run) -> Result:
    """Distill, evaluate and report; return the outcome, which is also written to `result.json`.

    The run resumes where an earlier attempt in the same folder stopped.
    """
    with Attempts(run) as attempts:
        problem = prepare(experiment)
        module, memory_estimate = _fitting(experiment, problem, attempts.record, run.folder / CHECKPOINTS)
        origin = origin_of(problem, run, attempts)
        with opened(experiment.logger, run, experiment.dataset.title, origin, attempts) as dashboard:
            pool = pretrain(problem, experiment)
            problem.population("init", 1)  # fails before anything starts if θ0 is not available
            result = _run(experiment, module, run, origin, attempts, dashboard)
        result.data = data_of(experiment.dataset, problem)
        result.pool, result.memory_estimate_mb = pool, round(memory_estimate / 1e6)
        attempts.end(result.status)
    result.provenance = attempts.provenance(run.command, origin)
    run.record(result)
    return result


def assist(experiment: Experiment, run: Run) -> None:
    """Distill together with process 0 of a run on several devices, which evaluates and reports alone."""
    logging.getLogger().setLevel(logging.WARNING)
    problem = prepare(experiment)
    folder, keys = run.folder / CHECKPOINTS, keys_of(experiment, problem)
    store = Store(folder, keys[0], newest(folder, keys))
    begun = read(RunRecord, run.folder / RUN) if store.last else None  # else the record may be another run's
    fit(_module(experiment, problem, begun), experiment.trainer, store=store)


def _fitting(
    e: Experiment, problem: Problem, record: RunRecord, folder: Path
) -> tuple[DistillationModule, int]:
    """Return the module and the bytes of its meta-gradient. Raises ConfigError if they do not fit."""
    problem.check_networks(e.evaluation.networks, e.evaluation.validation_networks)
    module = _module(e, problem, record)
    size = check_memory(module.outer_loss, e.trainer, resumed=bool(checkpoints(folder)))
    advise(e.unroll, module.distilled)
    problem.tell()
    warn_of_augmentation(problem, e.training, "the images are made")
    number = module.distilled.images.shape[:2].numel()
    log.info("distilling %s into %s images", e.dataset.title, number)
    return module, size


def _module(e: Experiment, problem: Problem, record: RunRecord | None) -> DistillationModule:
    """The optimization with the engine that the run's record names; there a choice of `auto` is kept."""
    distilled, devices = start(e.distilled, problem.data.train, e.seed).to(problem.device), e.trainer.devices
    if record and record.engine:
        engine = as_recorded(record.engine, e.unroll)
    else:
        own = e.init.networks // devices
        engine = chosen(e.unroll, problem, distilled, e.outer, own, devices)
        if record and isinstance(e.unroll, Auto):
            record.engine = recorded(engine)
    return DistillationModule(problem, distilled, e.outer, engine, e.evaluation, e.training, devices)


def _run(
    e: Experiment,
    module: DistillationModule,
    run: Run,
    origin: dict[str, Any],
    attempts: Attempts,
    dashboard: Dashboard,
) -> Result:
    problem, folder = module.problem, run.folder / CHECKPOINTS
    keys = keys_of(e, problem)
    last = newest(folder, keys)
    rows: list[EvaluationRow] = []
    try:
        fitted = fit(
            module,
            e.trainer,
            store=Store(folder, keys[0], last, attempts.save),
            curves=[*dashboard.curves, History(run.folder, step_of(last))],
            logger=e.logger,
            progress=run.progress,
        )
    finally:  # the data learned so far are saved, whatever ended the optimization
        if module.global_step:
            choices = {group: run.choices[group] for group in NAMED}
            more = {**choices, "choices": run.choices, "config": run.config, **origin}
            distilled_set = describe(problem, module.kept, more, e.distilled.store_whitening)
            distilled_set.save(run.folder / ARTIFACT)
            write_images(distilled_set, run.folder / IMAGES)
            with or_a_line("the picture of real images"):
                write_real(problem.data.train, e.seed, run.folder / IMAGES)
    if not fitted.signal and e.evaluation.networks:
        same_set = last is not None and step_of(last) == fitted.outer_steps  # as in the earlier attempt
        networks = problem.population("held-out", e.evaluation.networks)
        with module.outer_loss.unroll.acceleration(problem.device):
            comparison = judge(e, problem, distilled_set, networks, run.folder, resumed=same_set)
        class_names = problem.data.specification.class_names
        rows = dashboard.show(comparison, e.objective, e.evaluation.selection, class_names)
    result = Result(
        status="interrupted" if fitted.signal else "finished",
        metrics=list(e.objective.metrics),
        validation=fitted.validation,
        outer_steps=fitted.outer_steps,
        skipped_steps=fitted.skipped_steps,
        distillation_seconds=round(fitted.seconds, 2),
        outer_steps_per_second=round(fitted.outer_steps / fitted.seconds, 3),
        selection=e.evaluation.selection,
        evaluation=rows,
        storage=distilled_set.storage if module.global_step else None,
    )
    if fitted.signal:
        result.signal = fitted.signal
    return result
