"""The road from a data set to a report, one arrow a line: see `run`."""

from __future__ import annotations

import logging
import platform
import resource
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from dataset_distillation import distilled as distilled_data
from dataset_distillation.artifact import DistilledSet
from dataset_distillation.callbacks import Images, Progress, StopOnInterrupt
from dataset_distillation.config import Experiment
from dataset_distillation.distilled import Step
from dataset_distillation.errors import UserError
from dataset_distillation.evaluation.baselines import BASELINES
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.files import write_json
from dataset_distillation.module import DistillationModule
from dataset_distillation.problem import Problem
from dataset_distillation.report import table
from dataset_distillation.report.images import write_images

log = logging.getLogger(__name__)


def git_commit() -> str | None:
    """The commit of the code that runs, if it runs from a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@dataclass(frozen=True)
class Run:
    """Where a run writes, and what it was asked for."""

    folder: Path
    config: dict[str, Any]  # the resolved experiment
    choices: dict[str, str]  # the chosen file of each group
    overrides: list[str]
    commit: str | None = field(default_factory=git_commit)  # as the run begins: it may be another at the end

    def record(self, result: dict[str, Any]) -> None:
        """Write `result.json`: the outcome, and what was asked for."""
        asked = {"choices": self.choices, "overrides": self.overrides, "config": self.config}
        write_json(self.folder / "result.json", {**result, **asked})

    def record_failure(self, error: BaseException) -> None:
        message = " ".join(str(error).split())
        message = message if isinstance(error, UserError) else f"{type(error).__name__}: {message}"
        self.record({"status": "failed", "error": message})


def run(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Distil, evaluate and report; returns the outcome, which `result.json` holds too."""
    started = time.time()
    if experiment.trainer.threads:
        torch.set_num_threads(experiment.trainer.threads)
    logger = experiment.logger
    lightning_logger = logger.open(run.folder, run.config)
    summary, artifact, finished = None, run.folder / "distilled.safetensors", False
    try:
        problem = prepare(experiment)
        distilled = distilled_data.start(experiment.distilled, problem.data.train, experiment.seed)
        module = DistillationModule(problem, distilled)
        distilling = distill(module, lightning_logger, run.folder)
        result_set = describe(problem, distilled, run)
        result_set.save(artifact)
        write_images(result_set, run.folder / "images")
        if not distilling["interrupted"]:
            summary = evaluate(problem, result_set)
        finished = True
    finally:
        logger.finish(summary, artifact if artifact.exists() else None, finished)
    result = {
        "status": "interrupted" if distilling.pop("interrupted") else "finished",
        **distilling,
        "evaluation": [] if summary is None else summary.to_dict("records"),
        "provenance": provenance(problem, run, started),
    }
    run.record(result)
    return result


def prepare(experiment: Experiment) -> Problem:
    """Load the data and build the network."""
    data = experiment.dataset.load(experiment.seed)
    specification = data.specification
    network = experiment.architecture.build(specification.shape, specification.classes)
    device = _device(experiment.trainer.accelerator)
    return Problem(experiment, data, network.to(device))


def _device(accelerator: str) -> torch.device:
    if accelerator == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator))


def distill(module: DistillationModule, logger: Any, folder: Path) -> dict[str, Any]:
    """Run the outer optimisation and leave in `module` the distilled data of the best validation accuracy."""
    e = module.problem.experiment
    checkpoints = ModelCheckpoint(
        folder / "checkpoints",
        filename="best",
        monitor="validation/accuracy",
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    interrupt = StopOnInterrupt()
    callbacks: list[pl.Callback] = [checkpoints, interrupt, Images(e.logger)]
    if e.trainer.progress_bar:
        callbacks.append(Progress())
    begun = time.perf_counter()
    with _quiet():
        _trainer(e, callbacks, logger).fit(module)
    seconds = time.perf_counter() - begun
    if checkpoints.best_model_path:
        state = torch.load(checkpoints.best_model_path, weights_only=True)["state_dict"]
        module.load_state_dict(state)
    return {
        "interrupted": interrupt.interrupted,
        "validation_accuracy": None if (score := checkpoints.best_model_score) is None else float(score),
        "outer_steps": module.trainer.global_step,
        "skipped_steps": module.skipped,
        "distillation_seconds": round(seconds, 2),
        "outer_steps_per_second": round(module.trainer.global_step / seconds, 3),
    }


def _trainer(e: Experiment, callbacks: list[pl.Callback], logger: Any) -> pl.Trainer:
    return pl.Trainer(
        max_steps=e.outer.steps,
        accelerator=e.trainer.accelerator,
        devices=1,
        precision=e.trainer.precision,  # type: ignore[arg-type]
        logger=logger or False,
        callbacks=callbacks,
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
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        yield


def describe(problem: Problem, distilled: distilled_data.DistilledData, run: Run) -> DistilledSet:
    """The distilled data with everything that a reader of the file alone must know."""
    e, specification = problem.experiment, problem.data.specification
    initial = problem.population("init", 1)[0] if run.choices["init"] == "fixed" else {}
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
    device = next(problem.network.parameters()).device
    steps = [Step(*(tensor.to(device) for tensor in step)) for step in result.steps]
    methods = {
        "before_training": held_out(problem, problem.data.test, "held-out", e.evaluation.networks),
        "distilled": held_out(problem, problem.data.test, "held-out", e.evaluation.networks, [steps]),
    }
    for name in e.evaluation.baselines:
        log.info("baseline: %s", name.replace("_", " "))
        methods[name] = BASELINES[name](problem, float(result.learning_rates.mean()))
    return table.summary(methods)


def provenance(problem: Problem, run: Run, started: float) -> dict[str, Any]:
    """What is needed to repeat the run, and what it cost."""
    return {
        "command": shlex.join(["distill", *sys.argv[1:]]),
        "git_commit": run.commit,
        "versions": versions(),
        "platform": platform.platform(),
        "device": str(next(problem.network.parameters()).device),
        "threads": torch.get_num_threads(),
        "data_checksum": problem.data.checksum,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(started)),
        "seconds": round(time.time() - started, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def versions() -> dict[str, str]:
    packages = ("dataset-distillation", "torch", "torchvision", "pytorch-lightning", "hydra-core", "higher")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
