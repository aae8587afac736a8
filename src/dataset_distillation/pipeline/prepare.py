"""From an experiment to its problem: the data, the network and the pretrained networks."""

from __future__ import annotations

import hashlib
import logging
import os
from typing import Any

import torch

from dataset_distillation import user_code
from dataset_distillation.architectures.imported import Imported
from dataset_distillation.datasets import Dataset
from dataset_distillation.errors import choice_of, refuse
from dataset_distillation.evaluation import matching
from dataset_distillation.evaluation.explain import misses_augmentation
from dataset_distillation.evaluation.options import Training
from dataset_distillation.experiment.digest import digest
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.networks.weights import checksum
from dataset_distillation.outer.options import Trainer
from dataset_distillation.problem import Problem
from dataset_distillation.run.attempts import LIMITS, Attempts
from dataset_distillation.run.fields import DataReport
from dataset_distillation.run.processes import keep_memory, rank
from dataset_distillation.run.progress import show_bars
from dataset_distillation.run.provenance import provenance
from dataset_distillation.run.records import PoolReport
from dataset_distillation.run.run import Run

log = logging.getLogger(__name__)

THREADS = torch.get_num_threads()  # torch's own choice, before any job of this process changes it


def prepare(experiment: Experiment, test_only: bool = False) -> Problem:
    """Set up torch, load the data (with `test_only` the test split alone), and build the network."""
    keep_memory()
    show_bars(experiment.trainer.progress_bar)
    torch.set_num_threads(experiment.trainer.threads or THREADS)
    torch.use_deterministic_algorithms(experiment.trainer.deterministic)
    if experiment.trainer.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # torch requires this on CUDA
    e = experiment
    parts = (e.dataset, e.architecture, e.init, e.objective, e.inner_optimizer, e.seed)
    device = _device(e.trainer)
    if e.trainer.deterministic and device.type == "cuda" and e.augmentation.numbers:
        allowed = "the gradient of augmented images has no deterministic form on a GPU"
        raise refuse("trainer.deterministic", True, allowed, "use trainer.deterministic=false")
    problem = Problem.load(*parts, augmentation=e.augmentation, device=device, test_only=test_only)
    matching.check(problem, e.evaluation.baselines, e.distilled.images_per_class * e.distilled.steps)
    return problem


def warn_of_augmentation(problem: Problem, how: Training, made: str) -> None:
    """Warn if networks are trained on the set without the augmentation that it is distilled with."""
    if misses_augmentation(problem, how):
        own, here = choice_of(problem.augmentation), choice_of(how.augmentation)
        text = "%s with augmentation=%s; here: training.augmentation=%s; to have that, use %s"
        log.warning(text, made, own, here, f"augmentation@training.augmentation={own}")


def data_of(dataset: Dataset, problem: Problem) -> DataReport:
    """The data's part of a run's result."""
    data = problem.data
    sizes = {name: len(split) for name, split in data.splits.items()}
    return DataReport(name=dataset.title, classes=data.specification.classes, skipped=data.skipped, **sizes)


def keys_of(experiment: Experiment, problem: Problem) -> list[str]:
    """SHA-256 of what a distillation depends on: config, data, a known θ0, and the code of your own network.

    Behind it are those that older versions wrote: with what judges at the end, and with the limits, too.
    """
    known = [checksum(problem.known)] if problem.known else []
    if isinstance(architecture := problem.architecture, Imported):
        known.append(user_code.checksum(sorted(architecture.modules(problem.network))))
    configs = [digest(experiment), digest(experiment, LIMITS), digest(experiment, ())]
    parts = [(config, problem.data.checksum, *known) for config in configs]
    return [hashlib.sha256(" ".join(each).encode()).hexdigest() for each in parts]


def origin_of(problem: Problem, run: Run, attempts: Attempts) -> dict[str, Any]:
    """Where the results of a run come from: its overrides, the code, the machine, the data and the seed."""
    parts = provenance(problem.device, problem.data.checksum, problem.seed, run.code)
    return {"overrides": attempts.record.overrides, **parts}


def pretrain(problem: Problem, experiment: Experiment, held_out_alone: bool = False) -> PoolReport | None:
    """Train the networks that the init needs and that are not on disk yet; return a report on all of them.

    `held_out_alone`: train only the networks that judge an artifact; a baseline trains the others it needs.
    """
    members = problem.init.members(experiment.evaluation.validation_networks)
    if held_out_alone:
        members = [member for member in members if member.startswith(("held-out", "fixed"))]
    report = problem.init.prepare(problem.origin, members)
    if report is not None:
        std = "" if report.accuracy_std is None else f" ± {100 * report.accuracy_std:.2f}"
        mean, worst = 100 * report.accuracy_mean, 100 * report.accuracy_min
        text = "%d pretrained networks: %.2f%s %%, the worst %.2f %%, on %s"
        log.info(text, report.networks, mean, std, worst, report.source)
    return report


def _device(trainer: Trainer) -> torch.device:
    accelerator, available = trainer.accelerator, torch.accelerator.current_accelerator(check_available=True)
    if accelerator == "auto":
        device = available or torch.device("cpu")
    else:
        device = torch.device({"gpu": "cuda"}.get(accelerator, accelerator))
    if device.type == "cpu":
        return device
    if device != available:
        raise refuse("trainer.accelerator", accelerator, "this machine has none", "use auto or cpu")
    if trainer.devices > (number := torch.accelerator.device_count()):
        raise refuse("trainer.devices", trainer.devices, f"this machine has {number}")
    return device if trainer.devices == 1 else torch.device(device.type, rank(trainer.devices) % number)
