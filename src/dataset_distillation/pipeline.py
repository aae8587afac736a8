"""The road from a data set to a report, one arrow a line: see `run`."""

from __future__ import annotations

import copy
import logging
import os
from typing import Any

import pandas
import torch

from dataset_distillation import memory
from dataset_distillation.artifact import DistilledSet, checksum
from dataset_distillation.attempts import Attempts
from dataset_distillation.checkpoints import newest
from dataset_distillation.config import Experiment, Trainer
from dataset_distillation.distillation import distill
from dataset_distillation.distilled import DistilledData, start
from dataset_distillation.errors import refuse
from dataset_distillation.evaluation.comparison import compare, records, show
from dataset_distillation.module import DistillationModule
from dataset_distillation.problem import Problem
from dataset_distillation.processes import rank
from dataset_distillation.provenance import Run, provenance
from dataset_distillation.report.images import write_images, write_real

log = logging.getLogger(__name__)

THREADS = torch.get_num_threads()  # torch's own choice, whatever another job of this process asked for


def run(experiment: Experiment, run: Run) -> dict[str, Any]:
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
    distill(module, None, run.folder, newest(run.folder / "checkpoints", problem.checksum))


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
            distilling = distill(module, lightning_loggers, run.folder, last, attempts.save, run.progress)
        finally:  # whatever ended it, what was learned until then is kept
            if module.global_step:
                distilled_set = describe(problem, distilled, run, origin)
                distilled_set.save(artifact)
                write_images(distilled_set, run.folder / "images")
                write_real(problem.data.train, e.seed, run.folder / "images")
        if distilling["status"] == "finished" and e.evaluation.networks:
            table = evaluate(problem, distilled_set, run, resumed=last is not None)
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


def prepare(experiment: Experiment, test_only: bool = False) -> Problem:
    """Set up torch, load the data, or of them the test split alone, and build the network."""
    torch.set_num_threads(experiment.trainer.threads or THREADS)
    torch.use_deterministic_algorithms(experiment.trainer.deterministic)
    if experiment.trainer.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # which torch asks for on CUDA
    device = _device(experiment.trainer)
    dataset = experiment.dataset
    data = dataset.load_test(experiment.seed) if test_only else dataset.load(experiment.seed)
    specification = data.specification
    network = experiment.architecture.build(specification.shape, specification.classes)
    experiment = copy.copy(experiment)  # `replace` would check it again, and take a class's index for a name
    experiment.objective = experiment.objective.bind(specification.class_names)
    return Problem(experiment, data, network.to(device))


def pretrain(problem: Problem, held_out_alone: bool = False) -> dict[str, Any] | None:
    """Train the networks that the init needs and that are not on disk yet; what is known of them.

    `held_out_alone`: those that a known artifact is judged by. A baseline trains what else it asks for.
    """
    e = problem.experiment
    members = e.init.members(e.evaluation.validation_networks)
    if held_out_alone:
        members = [member for member in members if member.startswith(("held-out", "fixed"))]
    if not members:
        return None
    report = problem.pool.report(members)
    log.info(
        "%d pretrained networks: %.2f ± %.2f %%, the worst %.2f %%, on %s",
        report["networks"],
        *(100 * report[f"accuracy_{name}"] for name in ("mean", "std", "min")),
        report["source"],
    )
    return report


def _device(trainer: Trainer) -> torch.device:
    accelerator, there = trainer.accelerator, torch.accelerator.current_accelerator(check_available=True)
    if accelerator == "auto":
        device = there or torch.device("cpu")
    else:
        device = torch.device({"gpu": "cuda"}.get(accelerator, accelerator))
    if device.type == "cpu":
        return device
    if device != there:
        raise refuse("trainer.accelerator", accelerator, "there is none here", "use auto or cpu")
    if trainer.devices > (number := torch.accelerator.device_count()):
        raise refuse("trainer.devices", trainer.devices, f"there are {number} here")
    return device if trainer.devices == 1 else torch.device(device.type, rank(trainer.devices) % number)


def describe(problem: Problem, distilled: DistilledData, run: Run, origin: dict[str, Any]) -> DistilledSet:
    """The distilled data with everything that a reader of the file alone must know."""
    e, specification = problem.experiment, problem.data.specification
    known = problem.population("init", 1)[0] if e.init.known else None
    return DistilledSet(
        images=distilled.images.detach().cpu(),
        labels=distilled.labels.detach().cpu(),
        learning_rates=distilled.learning_rates.detach().cpu(),
        initial_weights=e.init.stored(known) if known else {},
        metadata={
            "order": "epoch by epoch, in each epoch all steps in order, each with its own learning rate",
            "dataset": specification.name,
            "class_names": list(specification.class_names),
            "mean": list(specification.mean),
            "std": list(specification.std),
            "architecture": run.choices["architecture"],
            "init": run.choices["init"],
            "initial_weights_sha256": checksum(known) if known else None,
            "objective": run.choices["objective"],
            "loss": e.objective.loss,
            "inner_optimizer": run.choices["inner_optimizer"],
            "choices": run.choices,
            "config": run.config,
            "train_images": len(problem.data.train) + len(problem.data.validation),
            **origin,
        },
    )


def evaluate(problem: Problem, distilled: DistilledSet, run: Run, resumed: bool) -> pandas.DataFrame:
    """Every method on the same held-out networks and the test split, one row a run."""
    networks = problem.population("held-out", problem.experiment.evaluation.networks)
    steps = list(distilled.steps)
    return compare(problem, networks, run.folder, [steps], distilled.learning_rates, resumed)
