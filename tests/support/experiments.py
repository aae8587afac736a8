"""Small experiments, and what the pipeline makes of one before it is fitted."""

from __future__ import annotations

from pathlib import Path

from dataset_distillation.distilled.start import start
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.pipeline.prepare import prepare

CONF = Path(__file__).parents[2] / "conf"

#: Seconds of work, whatever the experiment: few outer steps on the smallest data.
TINY = [
    "dataset=digits",
    "outer.steps=2",
    "outer.batch_size=16",
    "distilled.steps=2",
    "distilled.epochs=1",
    "evaluation.networks=2",
    "evaluation.validation_networks=1",
    "evaluation.validation_images=32",
    "evaluation.baselines=[]",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.progress_bar=false",
    "logger=none",
]


def module_of(
    experiment: Experiment, kind: type[DistillationModule] = DistillationModule
) -> DistillationModule:
    """The module before the first outer step; `kind` may be a class derived from it."""
    e, problem = experiment, prepare(experiment)
    distilled = start(e.distilled, problem.data.train, e.seed)
    return kind(problem, distilled, e.outer, e.unroll, e.evaluation, e.training, e.trainer.devices)


def outer_loss_of(experiment: Experiment) -> OuterLoss:
    """The outer loss of the networks of one of the experiment's processes."""
    return module_of(experiment).outer_loss


def never_called() -> None:
    """What `dataset=imported` may name where only the config is read."""
    raise AssertionError("the data were read")
