"""From a composed config to the objects of an experiment.

The YAML files in `conf/` hold the values; the dataclasses hold their types. A group whose choices have
different options (dataset, architecture, ...) is a package, with one file and one dataclass per choice.
A dataclass becomes a choice by deriving from the group's base class. `read` turns a composed config into
objects.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import fields
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dataset_distillation import (
    architectures,
    augmentation,
    datasets,
    init,
    inner_optimizers,
    loggers,
    objectives,
    unroll,
)
from dataset_distillation.architectures import Architecture
from dataset_distillation.augmentation import Augmentation
from dataset_distillation.datasets import Dataset
from dataset_distillation.errors import ConfigError, descendants, given, refuse, single_precision
from dataset_distillation.experiment.checks import check
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.init import Init
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.loggers import Logger
from dataset_distillation.objectives import Objective
from dataset_distillation.unroll import Unroll

#: The groups whose choices have different options: their package and the base class of their choices.
GROUPS: dict[str, tuple[ModuleType, type]] = {
    "dataset": (datasets, Dataset),
    "architecture": (architectures, Architecture),
    "init": (init, Init),
    "objective": (objectives, Objective),
    "unroll": (unroll, Unroll),
    "inner_optimizer": (inner_optimizers, InnerOptimizer),
    "augmentation": (augmentation, Augmentation),
    "logger": (loggers, Logger),
}


def register(kind: type[Experiment] = Experiment) -> None:
    """Register the types with Hydra as the groups `schema/...`, which `--help` and completion do not show."""
    store = ConfigStore.instance()
    store.store(group="schema", name="experiment", node=kind, package="_global_")
    for group in GROUPS:
        for choice in kinds_of(group):
            store.store(group=f"schema/{group}", name=choice.__module__.rpartition(".")[2], node=choice)


def kinds_of(group: str) -> Iterator[type]:
    """Yield the dataclasses of a group, without those that only Python can make, such as `InMemory`."""
    package, base = GROUPS[group]
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    yield from (kind for kind in descendants(base) if "__dataclass_params__" in vars(kind))


def read(config: DictConfig) -> Experiment:
    """Check a composed config and turn it into objects. Raises ConfigError, with a message of one line."""
    _refuse_unknown_keys(config, "")
    try:
        _refuse_unfit(OmegaConf.to_container(config, resolve=True), "")
        if missing := sorted(OmegaConf.missing_keys(config)):
            raise refuse(missing[0], "???", "must be given on the command line")
        experiment = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    assert isinstance(experiment, Experiment)
    check(experiment)
    return experiment


def task_of(config: DictConfig) -> DictConfig:
    """Return a copy of a composed config without Hydra's own part, as a job receives it."""
    task = copy.deepcopy(config)
    with open_dict(task):
        del task["hydra"]
    return task


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return the values of a config as plain Python values."""
    values: Any = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    return dict(values)


def _refuse_unfit(value: Any, key: str) -> None:
    """Raise ConfigError for empty strings, which no key means, and for numbers that cannot be computed with.

    The files of a run are JSON, which has no numbers that are not finite, and single precision rounds what is
    smaller or larger to 0 or to infinity.
    """
    if isinstance(value, dict | list):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_unfit(child, f"{key}.{name}" if key else str(name))
    elif isinstance(value, str):
        given(key, value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise refuse(key, value, "must be a finite number")
    elif isinstance(value, float):
        single_precision(key, value)


def _refuse_unknown_keys(node: DictConfig, prefix: str) -> None:
    """Raise ConfigError for unknown keys like `+group.typo=1`, which Hydra allows and `to_object` drops."""
    kind: Any = OmegaConf.get_type(node)
    known = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else None
    for key in map(str, node):
        if known is not None and key not in known:
            raise refuse(f"{prefix}{key}", node[key], "no such key", f"the keys are {', '.join(known)}")
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        if isinstance(child := node[key], DictConfig):
            _refuse_unknown_keys(child, f"{prefix}{key}.")


GROUP_NAMES = ["experiment", *(field.name for field in fields(Experiment) if field.name != "seed")]
