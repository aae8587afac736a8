"""Checks across the groups of an experiment: each group checks that the others fit it."""

from __future__ import annotations

from dataset_distillation import architectures
from dataset_distillation.errors import choice_of, one_of, refuse
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.tree import Evaluate, Experiment
from dataset_distillation.init.random import Random
from dataset_distillation.problem import check_augmentation, check_parts

OPTIONS_NEEDED = {"imported", "torchvision"}  # architectures that are not complete by their name


def check(e: Experiment) -> None:
    """Raise ConfigError unless the groups of `e` fit each other."""
    stored = isinstance(e, Evaluate) and e.artifact is not None  # the artifact may hold θ0
    check_parts(e.dataset, e.architecture, e.init, e.objective, e.augmentation, stored)
    e.distilled.check(e.objective, e.dataset.name)
    e.outer.check(e.dataset.channels, e.dataset.image_size)
    e.unroll.check(e.distilled.unrolled)
    e.trainer.check(e.init.networks)
    e.init.check_held_out(e.evaluation.networks)
    e.evaluation.check(e.objective, e.dataset.name, e.distilled, e.architecture)
    _check_architectures(e)
    if augmentation := e.training.augmentation:
        check_augmentation("training.augmentation", augmentation, e.dataset, "use training=dc")
    if isinstance(e, Evaluate):
        _check_evaluate(e)
    else:
        e.distilled.check_begin()
        if e.distilled.store_whitening and e.dataset.whitening == "none":
            allowed = "there is nothing to store, since dataset.whitening=none"
            raise refuse("distilled.store_whitening", True, allowed)


def _check_architectures(e: Experiment) -> None:
    """Raise ConfigError unless the other architectures can judge the distilled data."""
    key, size = "evaluation.architectures", e.dataset.image_size
    for name in e.evaluation.architectures:
        one_of(key, name, sorted(set(choices("architecture")) - OPTIONS_NEEDED))
        if not isinstance(e.init, Random):
            allowed = f"judges from random starts, and this is init={choice_of(e.init)}"
            raise refuse(key, name, allowed, "use init=random, or []")
        architectures.by_name(name, {}).check((e.dataset.channels, size, size))


def _check_evaluate(e: Evaluate) -> None:
    if e.artifact is None and not e.evaluation.baselines:
        raise refuse("artifact", "null", "there is nothing to evaluate", "set its path, or baselines=all")
    if e.explain and e.artifact is None:
        raise refuse("explain", True, "there is no set to explain", "set artifact=<path>")
    if e.training.mean_rate and e.artifact is None:
        remedy = "set artifact=<path>, or training.learning_rate=0.01 training.mean_rate=false"
        raise refuse("training.mean_rate", True, "is the mean of the rates of an artifact", remedy)
    if e.evaluation.networks == 0:
        raise refuse("evaluation.networks", 0, "must be greater than 0 to evaluate")
