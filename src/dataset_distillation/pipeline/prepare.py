"""From an experiment to its problem: data, network and pretrained networks."""

from __future__ import annotations

import copy
import logging
import os
from typing import Any

import torch

from dataset_distillation.errors import refuse
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.options import Trainer
from dataset_distillation.problem import Problem
from dataset_distillation.run.processes import rank

log = logging.getLogger(__name__)

THREADS = torch.get_num_threads()  # torch's own choice, whatever another job of this process asked for


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
