"""The road from a data set to a report, one arrow a line: see `run`."""

from __future__ import annotations

import logging
import time
from typing import Any

import pandas
import torch

from dataset_distillation.artifact import DistilledSet
from dataset_distillation.config import Experiment
from dataset_distillation.distillation import distill
from dataset_distillation.distilled import DistilledData, start
from dataset_distillation.errors import refuse
from dataset_distillation.evaluation.baselines import BASELINES
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.module import DistillationModule
from dataset_distillation.problem import Problem
from dataset_distillation.provenance import Run, provenance, versions
from dataset_distillation.report.images import write_images
from dataset_distillation.report.table import summary

log = logging.getLogger(__name__)

_THREADS = torch.get_num_threads()  # torch's own choice, whatever another job of this process asked for


def run(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Distil, evaluate and report; returns the outcome, which `result.json` holds too."""
    started = time.time()
    torch.set_num_threads(experiment.trainer.threads or _THREADS)
    logger, artifact = experiment.logger, run.folder / "distilled.safetensors"
    problem = prepare(experiment)
    lightning_logger = logger.open(run.folder, run.config)
    table, succeeded = None, False
    try:
        distilled = start(experiment.distilled, problem.data.train, experiment.seed)
        module = DistillationModule(problem, distilled)
        log.info("distilling %s into %s images", problem.data.specification.name, distilled.labels.numel())
        try:
            distilling = distill(module, lightning_logger, run.folder)
        finally:  # whatever ended it, what was learned until then is kept
            distilled_set = describe(problem, distilled, run)
            distilled_set.save(artifact)
            write_images(distilled_set, run.folder / "images")
        if distilling["status"] == "finished":
            table = evaluate(problem, distilled_set)
        succeeded = True
    finally:
        logger.finish(table, artifact if artifact.exists() else None, succeeded)
    evaluation = [] if table is None else table.to_dict("records")
    result = {**distilling, "evaluation": evaluation, "provenance": provenance(problem, run, started)}
    run.record(result)
    return result


def prepare(experiment: Experiment) -> Problem:
    """Load the data and build the network."""
    device = _device(experiment.trainer.accelerator)
    data = experiment.dataset.load(experiment.seed)
    specification = data.specification
    network = experiment.architecture.build(specification.shape, specification.classes)
    return Problem(experiment, data, network.to(device))


def _device(accelerator: str) -> torch.device:
    if accelerator == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    device = torch.device({"gpu": "cuda"}.get(accelerator, accelerator))
    if device.type != "cpu" and torch.accelerator.current_accelerator(check_available=True) != device:
        raise refuse("trainer.accelerator", accelerator, "there is none here", "use auto or cpu")
    return device


def describe(problem: Problem, distilled: DistilledData, run: Run) -> DistilledSet:
    """The distilled data with everything that a reader of the file alone must know."""
    e, specification = problem.experiment, problem.data.specification
    initial = problem.population("init", 1)[0] if e.init.known else {}
    return DistilledSet(
        images=distilled.images.detach().cpu(),
        labels=distilled.labels.cpu(),
        learning_rates=distilled.learning_rates.detach().cpu(),
        initial_weights=initial,
        metadata={
            "order": "epoch by epoch, in each epoch all steps in order, each with its own learning rate",
            "dataset": specification.name,
            "class_names": list(specification.class_names),
            "mean": list(specification.mean),
            "std": list(specification.std),
            "architecture": run.choices["architecture"],
            "init": run.choices["init"],
            "objective": run.choices["objective"],
            "inner_optimizer": run.choices["inner_optimizer"],
            "config": run.config,
            "checksum": problem.data.checksum,
            "seed": e.seed,
            "versions": versions(),
            "git_commit": run.commit,
        },
    )


def evaluate(problem: Problem, result: DistilledSet) -> pandas.DataFrame | None:
    """Every method on the same held-out networks and the test split."""
    e = problem.experiment
    if e.evaluation.networks == 0:
        return None
    steps = list(result.steps)
    methods = {
        "before_training": held_out(problem, problem.data.test, "held-out", e.evaluation.networks),
        "distilled": held_out(problem, problem.data.test, "held-out", e.evaluation.networks, [steps]),
    }
    for name in e.evaluation.baselines:
        log.info("baseline: %s", name.replace("_", " "))
        methods[name] = BASELINES[name](problem, float(result.learning_rates.mean()))
    return summary(methods)
