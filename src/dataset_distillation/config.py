"""The typed tree of one experiment, and the checks that cross its groups.

The YAML files in `conf/` say what; the dataclasses say of what kind. A group whose choices differ in
kind (dataset, architecture, ...) is a package here with one file and one dataclass a choice; deriving
from the group's base class is what makes it known. `read` turns a composed config into such objects.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dataset_distillation import architectures, datasets, init, inner_optimizers, loggers, objectives, unroll
from dataset_distillation.architectures import Architecture
from dataset_distillation.datasets import Dataset
from dataset_distillation.errors import ConfigError, one_of, positive, refuse
from dataset_distillation.evaluation import BASELINES, closed_form
from dataset_distillation.init import Init
from dataset_distillation.inner_optimizers import InnerOptimizer
from dataset_distillation.loggers import Logger
from dataset_distillation.objectives import Objective
from dataset_distillation.unroll import Unroll


@dataclass
class Distilled:
    """The distilled data: `steps` batches of `images_per_class` images, used for `epochs` passes."""

    images_per_class: int = 1
    steps: int = 10
    epochs: int = 3
    learning_rate: float = 0.02
    start: str = "noise"
    labels: str = "fixed"

    def __post_init__(self) -> None:
        for name in ("images_per_class", "steps", "epochs", "learning_rate"):
            positive(f"distilled.{name}", getattr(self, name))
        one_of("distilled.start", self.start, ("noise", "real", "k_means"))
        one_of("distilled.labels", self.labels, ("fixed", "learned"))

    @property
    def inner_steps(self) -> int:
        """T, how many steps train a network: `steps` in each of the `epochs`."""
        return self.steps * self.epochs


@dataclass
class Outer:
    """The optimiser of the distilled data: Adam on images and learning rates."""

    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 0.01
    learning_rate_of_rates: float = 0.01
    learning_rate_of_labels: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.5, 0.999])
    schedule: str = "cosine"
    clip: float | None = 1.0
    max_skipped: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "max_skipped"):
            positive(f"outer.{name}", getattr(self, name))
        for name in ("learning_rate_of_rates", "learning_rate_of_labels"):
            if (rate := getattr(self, name)) < 0:
                raise refuse(f"outer.{name}", rate, "must be 0 or more")
        if self.clip is not None:
            positive("outer.clip", self.clip)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise refuse("outer.betas", self.betas, "must be two numbers in [0, 1)")
        one_of("outer.schedule", self.schedule, ("constant", "cosine"))


@dataclass
class Evaluation:
    """Which networks judge the distilled data, when, and against what."""

    networks: int = 20
    baselines: Any = field(default_factory=list)  # a list of names, one name, or all
    selection: str = "validation"
    validation_networks: int = 8
    validation_images: int = 2000
    validation_every: int = 200

    def __post_init__(self) -> None:
        if self.networks < 0:
            raise refuse("evaluation.networks", self.networks, "must be 0 (none) or more")
        for name in ("validation_networks", "validation_images", "validation_every"):
            positive(f"evaluation.{name}", getattr(self, name))
        one_of("evaluation.selection", self.selection, ("validation", "paper"))
        names = [self.baselines] if isinstance(self.baselines, str) else list(self.baselines or [])
        for name in names:
            one_of("evaluation.baselines", str(name), ("all", *BASELINES, "closed_form"))
        self.baselines = list(BASELINES) if "all" in names else list(dict.fromkeys(names))


@dataclass
class Trainer:
    """What Lightning's Trainer runs on."""

    accelerator: str = "auto"
    precision: str = "32-true"
    devices: int = 1
    strategy: str = "auto"
    deterministic: bool = False
    threads: int | None = None
    progress_bar: bool = True
    checkpoint_seconds: float = 30.0

    def __post_init__(self) -> None:
        one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "mps"))
        if self.precision.startswith("16") or "fp16" in self.precision:
            reason = (
                "the inner gradients underflow in fp16, and a scale of the outer loss does not reach them"
            )
            raise refuse(
                "trainer.precision", self.precision, reason, "take bf16-mixed, which has fp32's range"
            )
        one_of("trainer.precision", self.precision, ("32-true", "bf16-mixed"))
        one_of("trainer.strategy", self.strategy, ("auto", "ddp"))
        positive("trainer.devices", self.devices)
        if self.devices > 1 and self.strategy != "ddp":
            raise refuse(
                "trainer.devices", self.devices, "several need a process each", "set trainer.strategy=ddp"
            )
        if self.threads is not None:
            positive("trainer.threads", self.threads)
        if self.checkpoint_seconds < 0:
            raise refuse("trainer.checkpoint_seconds", self.checkpoint_seconds, "must be 0 or more")


@dataclass
class Experiment:
    """Everything that determines a run."""

    dataset: Dataset = MISSING
    architecture: Architecture = MISSING
    init: Init = MISSING
    objective: Objective = MISSING
    distilled: Distilled = field(default_factory=Distilled)
    unroll: Unroll = MISSING
    inner_optimizer: InnerOptimizer = MISSING
    outer: Outer = field(default_factory=Outer)
    evaluation: Evaluation = field(default_factory=Evaluation)
    trainer: Trainer = field(default_factory=Trainer)
    logger: Logger = MISSING
    seed: int = 0

    def __post_init__(self) -> None:
        size = self.dataset.image_size
        self.architecture.check((self.dataset.channels, size, size))
        self._check_targets()
        self.init.check(self)
        self.objective.check(self)
        self.unroll.check(self)
        if self.init.networks % self.trainer.devices:
            allowed = (
                f"must be a multiple of trainer.devices={self.trainer.devices}, which share the networks"
            )
            raise refuse("init.networks", self.init.networks, allowed)
        closed_form.check(self)

    def _check_targets(self) -> None:
        """Classes or numbers: data set, objective and labels must agree."""
        dataset = f"dataset.name={self.dataset.name}"
        if self.objective.numbers and not self.dataset.numbers:
            allowed, remedy = f"predicts numbers, and {dataset} has classes", "take objective=standard"
        elif self.dataset.numbers and not self.objective.numbers:
            allowed, remedy = f"is about classes, and {dataset} has numbers", "take objective=regression"
        elif self.dataset.numbers and self.distilled.labels == "fixed":
            allowed = f"{dataset} has numbers, and no class that one could be fixed to"
            raise refuse("distilled.labels", "fixed", allowed, "take distilled.labels=learned")
        elif self.dataset.numbers and self.distilled.start == "k_means":
            allowed = f"{dataset} has numbers, and no classes to find centroids of"
            raise refuse("distilled.start", "k_means", allowed, "take noise or real")
        else:
            return
        raise refuse("objective", type(self.objective).__module__.rpartition(".")[2], allowed, remedy)


@dataclass
class Training:
    """How held-out networks are trained on an artifact; None: as it was made for."""

    epochs: int | None = None
    order: str = "learned"
    learning_rate: float | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        one_of("training.order", self.order, ("learned", "shuffled"))
        for name in ("epochs", "learning_rate", "batch_size"):
            if (value := getattr(self, name)) is not None:
                positive(f"training.{name}", value)
        if self.batch_size and not self.learning_rate:
            allowed = "the learned rates belong to the distilled steps"
            raise refuse("training.batch_size", self.batch_size, allowed, "set training.learning_rate too")


@dataclass
class Evaluate(Experiment):
    """What `distill-evaluate` is asked for: an artifact and how to train on it, or baselines alone."""

    artifact: str | None = None
    baselines: Any = None  # in place of those of `evaluation`
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        if self.baselines is not None:
            self.evaluation = dataclasses.replace(self.evaluation, baselines=self.baselines)
        super().__post_init__()
        if self.artifact is None and not self.evaluation.baselines:
            raise refuse(
                "artifact", "null", "there is nothing to evaluate", "give its path, or baselines=all"
            )
        if self.evaluation.networks == 0:
            raise refuse("evaluation.networks", 0, "must be greater than 0 to evaluate")


#: The groups whose choices differ in kind: their package and the class their choices derive from.
GROUPS: dict[str, tuple[ModuleType, type]] = {
    "dataset": (datasets, Dataset),
    "architecture": (architectures, Architecture),
    "init": (init, Init),
    "objective": (objectives, Objective),
    "unroll": (unroll, Unroll),
    "inner_optimizer": (inner_optimizers, InnerOptimizer),
    "logger": (loggers, Logger),
}


def register(kind: type[Experiment] = Experiment) -> None:
    """Make the types known to Hydra, as the groups `schema/...`, out of sight of `--help` and completion."""
    store = ConfigStore.instance()
    store.store(group="schema", name="experiment", node=kind, package="_global_")
    for group, (package, base) in GROUPS.items():
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        for choice in _descendants(base):
            store.store(group=f"schema/{group}", name=choice.__module__.rpartition(".")[2], node=choice)


def _descendants(kind: type) -> Iterator[type]:
    child: type
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def read(config: DictConfig) -> Experiment:
    """Check a composed config and turn it into objects. Raises ConfigError, one line."""
    _refuse_unknown_keys(config, "")
    try:
        _refuse_infinite(OmegaConf.to_container(config, resolve=True), "")
        if missing := sorted(OmegaConf.missing_keys(config)):
            raise refuse(missing[0], "???", "must be given on the command line")
        experiment = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    assert isinstance(experiment, Experiment)
    return experiment


def _refuse_infinite(value: Any, key: str) -> None:
    """The files of a run are JSON, which has finite numbers alone."""
    if isinstance(value, dict | list):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_infinite(child, f"{key}.{name}" if key else str(name))
    elif isinstance(value, float) and not math.isfinite(value):
        raise refuse(key, value, "must be a finite number")


def _refuse_unknown_keys(node: DictConfig, prefix: str) -> None:
    """`+group.typo=1` passes Hydra, and `to_object` would drop it in silence."""
    kind: Any = OmegaConf.get_type(node)
    known = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else None
    for key in map(str, node):
        if known is not None and key not in known:
            raise refuse(f"{prefix}{key}", node[key], "no such key", f"the keys are {', '.join(known)}")
        child: Any = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            _refuse_unknown_keys(child, f"{prefix}{key}.")
