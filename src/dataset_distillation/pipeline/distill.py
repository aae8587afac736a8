"""The road from a data set to a report, one arrow a line: see `run`."""

from __future__ import annotations

import logging
from typing import Any

import pandas

from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.pictures import write_images, write_real
from dataset_distillation.distilled.start import start
from dataset_distillation.evaluation.comparison import compare, records
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer import memory
from dataset_distillation.outer.checkpoints import newest
from dataset_distillation.outer.describe import describe
from dataset_distillation.outer.fit import fit
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.pipeline.prepare import prepare, pretrain
from dataset_distillation.problem import Problem
from dataset_distillation.report.shown import show
from dataset_distillation.run.attempts import Attempts
from dataset_distillation.run.provenance import provenance
from dataset_distillation.run.run import Run

log = logging.getLogger(__name__)


def distill(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Distil, evaluate and report; returns the outcome, which `result.json` holds too.

    Goes on where an earlier attempt in the same folder has stopped.
    """
    with Attempts(run) as attempts:
        problem = prepare(experiment)
        pool = pretrain(problem)
        problem.population("init", 1)  # what cannot be had is said before anything starts
        origin = {"overrides": attempts.record["overrides"], **provenance(problem, run)}
        result = {**_run(problem, run, origin, attempts), "pool": pool}
        attempts.end(result["status"])
    result["provenance"] = {
        "command": run.command,
        **origin,
        **attempts.cost(),
        "attempts": attempts.record["attempts"],
    }
    run.record(result)
    return result


def assist(experiment: Experiment, run: Run) -> None:
    """What the other processes of a run on several devices do: distil with the first, which does all else."""
    logging.getLogger().setLevel(logging.WARNING)
    problem = prepare(experiment)
    module = DistillationModule(problem, start(experiment.distilled, problem.data.train, experiment.seed))
    fit(module, None, run.folder, newest(run.folder / "checkpoints", problem.checksum))


def _run(problem: Problem, run: Run, origin: dict[str, Any], attempts: Attempts) -> dict[str, Any]:
    e, artifact = problem.experiment, run.folder / "distilled.safetensors"
    last = newest(run.folder / "checkpoints", problem.checksum)
    lightning_loggers = e.logger.open(run, {**run.config, "provenance": origin})
    evaluation: list[dict[str, Any]] = []
    shown, succeeded = None, False
    try:
        distilled = start(e.distilled, problem.data.train, e.seed)
        module = DistillationModule(problem, distilled)
        number = distilled.images.shape[:2].numel()
        log.info("distilling %s into %s images", problem.data.specification.name, number)
        memory_estimate = memory.tell(module.outer_loss, module.networks)
        try:
            distilling = fit(module, lightning_loggers, run.folder, last, attempts.save, run.progress)
        finally:  # whatever ended it, what was learned until then is kept
            if module.global_step:
                distilled_set = describe(problem, distilled, run, origin)
                distilled_set.save(artifact)
                write_images(distilled_set, run.folder / "images")
                write_real(problem.data.train, e.seed, run.folder / "images")
        if distilling["status"] == "finished" and e.evaluation.networks:
            table = judge(problem, distilled_set, run, resumed=last is not None)
            evaluation = records(table, e.objective.metric)
            shown = show(problem, evaluation, table, run.folder)
        succeeded = True
    finally:
        kept = artifact if artifact.exists() else None
        e.logger.finish(shown, kept, attempts.cost(), succeeded)
    return {
        **distilling,
        "memory_estimate_mb": round(memory_estimate / 1e6),
        "selection": e.evaluation.selection,
        "evaluation": evaluation,
        "storage": distilled_set.storage if module.global_step else None,
    }


def judge(problem: Problem, distilled: DistilledSet, run: Run, resumed: bool) -> pandas.DataFrame:
    """Every method on the same held-out networks and the test split, one row a run."""
    networks = problem.population("held-out", problem.experiment.evaluation.networks)
    steps = list(distilled.steps)
    return compare(problem, networks, run.folder, [steps], distilled.learning_rates, resumed)
