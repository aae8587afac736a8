"""The options of the outer optimization and of the device it runs on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dataset_distillation.errors import member, one_of, positive, refuse


class Schedule(StrEnum):
    """How the outer learning rates go on."""

    constant = "constant"
    cosine = "cosine"


class Accelerator(StrEnum):
    """Where to compute; auto: on the first there is."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"
    mps = "mps"


class Strategy(StrEnum):
    """How several processes share the networks of an outer step."""

    auto = "auto"
    ddp = "ddp"


@dataclass
class Outer:
    """The optimiser of the distilled data: Adam on images and learning rates."""

    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 0.01
    learning_rate_of_rates: float = 0.01
    learning_rate_of_labels: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.5, 0.999])
    schedule: Schedule = Schedule.cosine
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
        self.schedule = member("outer.schedule", self.schedule, Schedule)


@dataclass
class Trainer:
    """What Lightning's Trainer runs on."""

    accelerator: Accelerator = Accelerator.auto
    precision: str = "32-true"
    devices: int = 1
    strategy: Strategy = Strategy.auto
    deterministic: bool = False
    threads: int | None = None
    progress_bar: bool = True
    checkpoint_seconds: float = 30.0

    def __post_init__(self) -> None:
        self.accelerator = member("trainer.accelerator", self.accelerator, Accelerator)
        if self.precision.startswith("16") or "fp16" in self.precision:
            reason = (
                "the inner gradients underflow in fp16, and a scale of the outer loss does not reach them"
            )
            raise refuse(
                "trainer.precision", self.precision, reason, "take bf16-mixed, which has fp32's range"
            )
        one_of("trainer.precision", self.precision, ("32-true", "bf16-mixed"))
        self.strategy = member("trainer.strategy", self.strategy, Strategy)
        positive("trainer.devices", self.devices)
        if self.devices > 1 and self.strategy != "ddp":
            raise refuse(
                "trainer.devices", self.devices, "several need a process each", "set trainer.strategy=ddp"
            )
        if self.threads is not None:
            positive("trainer.threads", self.threads)
        if self.checkpoint_seconds < 0:
            raise refuse("trainer.checkpoint_seconds", self.checkpoint_seconds, "must be 0 or more")

    def check(self, networks: int) -> None:
        """Raise ConfigError unless the devices can share so many networks."""
        if networks % self.devices:
            allowed = f"must be a multiple of trainer.devices={self.devices}, which share the networks"
            raise refuse("init.networks", networks, allowed)
