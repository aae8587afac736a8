"""The typed tree of one experiment, and the checks that cross its groups.

The YAML files in `conf/` say what; the dataclasses say of what kind. A group whose choices differ in
kind (dataset, architecture, ...) is a package here with one file and one dataclass a choice; deriving
from the group's base class is what makes it known. `read` turns a composed config into such objects.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
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

    def __post_init__(self) -> None:
        for name in ("images_per_class", "steps", "epochs", "learning_rate"):
            positive(f"distilled.{name}", getattr(self, name))
        one_of("distilled.start", self.start, ("noise", "real"))


@dataclass
class Outer:
    """The optimiser of the distilled data: Adam on images and learning rates."""

    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 0.01
    learning_rate_of_rates: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.5, 0.999])
    schedule: str = "cosine"
    clip: float | None = 1.0
    max_skipped: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "max_skipped"):
            positive(f"outer.{name}", getattr(self, name))
        if self.learning_rate_of_rates < 0:
            raise refuse("outer.learning_rate_of_rates", self.learning_rate_of_rates, "must be 0 or more")
        if self.clip is not None:
            positive("outer.clip", self.clip)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise refuse("outer.betas", self.betas, "must be two numbers in [0, 1)")
        one_of("outer.schedule", self.schedule, ("constant", "cosine"))


@dataclass
class Evaluation:
    """Which networks judge the distilled data, when, and against what."""

    networks: int = 20
    baselines: list[str] = field(default_factory=list)
    validation_networks: int = 8
    validation_images: int = 2000
    validation_every: int = 200

    def __post_init__(self) -> None:
        if self.networks < 0:
            raise refuse("evaluation.networks", self.networks, "must be 0 (none) or more")
        for name in ("validation_networks", "validation_images", "validation_every"):
            positive(f"evaluation.{name}", getattr(self, name))
        for name in self.baselines:
            one_of("evaluation.baselines", name, ("random_real", "full_training"))


@dataclass
class Trainer:
    """What Lightning's Trainer runs on."""

    accelerator: str = "auto"
    precision: str = "32-true"
    threads: int | None = None
    progress_bar: bool = True

    def __post_init__(self) -> None:
        one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "mps"))
        # fp16 is no choice: the inner gradients are not scaled, so they underflow.
        one_of("trainer.precision", self.precision, ("32-true", "bf16-mixed"))
        if self.threads is not None:
            positive("trainer.threads", self.threads)


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


def register() -> None:
    """Make the types known to Hydra, as the groups `schema/...`, out of sight of `--help` and completion."""
    store = ConfigStore.instance()
    store.store(group="schema", name="experiment", node=Experiment, package="_global_")
    for group, (package, base) in GROUPS.items():
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        choice: type
        for choice in base.__subclasses__():
            store.store(group=f"schema/{group}", name=choice.__module__.rpartition(".")[2], node=choice)


def read(config: DictConfig) -> Experiment:
    """Check a composed config and turn it into objects. Raises ConfigError, one line."""
    _refuse_unknown_keys(config, "")
    try:
        if missing := sorted(OmegaConf.missing_keys(config)):
            raise refuse(missing[0], "???", "must be given on the command line")
        experiment = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    assert isinstance(experiment, Experiment)
    return experiment


def _refuse_unknown_keys(node: DictConfig, prefix: str) -> None:
    """`+group.typo=1` passes Hydra, and `to_object` would drop it in silence."""
    kind: Any = OmegaConf.get_type(node)
    known = [f.name for f in dataclasses.fields(kind)]
    for key in map(str, node):
        if key not in known:
            raise refuse(f"{prefix}{key}", node[key], "no such key", f"the keys are {', '.join(known)}")
        child: Any = node._get_node(key)
        if isinstance(child, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(child)):
            _refuse_unknown_keys(child, f"{prefix}{key}.")
