"""The options of the outer optimization and of the device that it runs on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from dataset_distillation.errors import at_least, check_counts, count, member, one_of, positive, refuse
from dataset_distillation.run.machine import check_room


class Schedule(StrEnum):
    """How the outer learning rates change over the outer steps."""

    constant = "constant"
    cosine = "cosine"


class Accelerator(StrEnum):
    """The device to compute on; auto: the first one that is available."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"
    mps = "mps"


class Strategy(StrEnum):
    """How several processes share the networks of an outer step."""

    auto = "auto"
    ddp = "ddp"


class MemoryLimit(StrEnum):
    """Whether a meta-gradient that needs more memory than is free is refused."""

    free = "free"
    ignore = "ignore"


@dataclass
class Outer:
    """The optimizer of the distilled data (Algorithm 1): Adam on the images and the learning rates.

    steps: the number of outer steps.
    minutes: the run ends after so many minutes of distillation, over all attempts, if `steps` take longer.
    batch_size: real images per outer step.
    learning_rate: Adam's learning rate of the images.
    learning_rate_of_rates: that of the raw learning rates; 0 leaves the learning rates as they are.
    learning_rate_of_labels: that of the labels, if they are learned; 0 leaves them as they are.
    betas: Adam's two decay rates, each in [0, 1).
    schedule: `constant`, or `cosine`, which lets all three rates fall to 0 over the outer steps.
    clip: the largest norm of each network's meta-gradient; None: no limit.
    clip_to_mean: the largest norm of the meta-gradient of an outer step (after `clip`), as a multiple of the
        running mean of these norms; None: no limit.
    mean_decay: the share of that mean which an outer step leaves as it was, in [0, 1).
    average: the decay of an exponential moving average of the distilled data, in [0, 1), which is what is
        validated and kept; it is (1 + step) / (10 + step) as long as that is less. 0: the data themselves.
    warm_up: outer steps in which the learning rates rise from 0 to their values.
    max_skipped: how many outer steps in a row may have a meta-gradient that is not finite.

    Raises ConfigError if a value is out of its range.
    """

    steps: int = count(2000, most=100_000_000)
    minutes: float | None = None
    batch_size: int = count(256, most=1_000_000)
    learning_rate: float = 0.01
    learning_rate_of_rates: float = 0.01
    learning_rate_of_labels: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.5, 0.999])
    schedule: Schedule = Schedule.cosine
    clip: float | None = 1.0
    clip_to_mean: float | None = None
    mean_decay: float = 0.9
    average: float = 0.0
    warm_up: int = count(0, most=100_000_000, least=0)
    max_skipped: int = count(20, most=100_000_000)

    def __post_init__(self) -> None:
        check_counts("outer", self)
        positive("outer.learning_rate", self.learning_rate)
        if self.minutes is not None:
            positive("outer.minutes", self.minutes)
        for name in ("learning_rate_of_rates", "learning_rate_of_labels"):
            at_least(f"outer.{name}", getattr(self, name), 0)
        if self.clip is not None:
            positive("outer.clip", self.clip)
        # At 1 the running mean, which is of norms after the clip, could only fall.
        if self.clip_to_mean is not None and not 1 < self.clip_to_mean < float("inf"):
            raise refuse("outer.clip_to_mean", self.clip_to_mean, "must be greater than 1, or null")
        for name in ("mean_decay", "average"):
            if not 0 <= (decay := getattr(self, name)) < 1:
                raise refuse(f"outer.{name}", decay, "must be in [0, 1)")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise refuse("outer.betas", self.betas, "must be two numbers in [0, 1)")
        self.schedule = member("outer.schedule", self.schedule, Schedule)

    @property
    def rates(self) -> dict[str, float]:
        """The learning rate of each parameter of the distilled data."""
        return {
            "images": self.learning_rate,
            "raw_learning_rates": self.learning_rate_of_rates,
            "labels": self.learning_rate_of_labels,
        }

    def factor(self, step: int) -> float:
        """Return what the learning rates are multiplied by in outer `step`."""
        rising = min(1.0, (step + 1) / (self.warm_up + 1))
        if self.schedule == "constant":
            return rising
        return rising * 0.5 * (1 + math.cos(math.pi * min(step / self.steps, 1)))

    def check(self, channels: int, size: int) -> None:
        """Raise ConfigError unless the real images of an outer step, twice, fit the free memory."""
        needed = 2 * 4 * self.batch_size * channels * size**2
        check_room("outer.batch_size", self.batch_size, needed, "the real images of an outer step")


@dataclass
class Trainer:
    """What Lightning's Trainer runs on.

    accelerator: the device to compute on; `auto` is the first one that is available.
    precision: `32-true`, or `bf16-mixed`.
    devices: the number of processes, which share the networks of an outer step.
    strategy: how they share them; several devices need `ddp`.
    deterministic: allow torch's deterministic algorithms only.
    threads: torch's threads per process; None keeps the present number.
    progress_bar: a bar on a terminal or in a notebook; False, or elsewhere: lines in the log.
    checkpoint_seconds: seconds between two checkpoints of a run of the command line; 0: after every step.
    memory: `free`: what needs more memory than is free is refused; `ignore`: it is tried, with a warning.

    Raises ConfigError if a value is not allowed.
    """

    accelerator: Accelerator = Accelerator.auto
    precision: str = "32-true"
    devices: int = count(1, most=1024)
    strategy: Strategy = Strategy.auto
    deterministic: bool = False
    threads: int | None = count(None, most=1024)
    progress_bar: bool = True
    checkpoint_seconds: float = 30.0
    memory: MemoryLimit = MemoryLimit.free

    def __post_init__(self) -> None:
        self.accelerator = member("trainer.accelerator", self.accelerator, Accelerator)
        if self.precision.startswith("16") or "fp16" in self.precision:
            reason = "the inner gradients underflow in fp16, and scaling the outer loss does not reach them"
            raise refuse(
                "trainer.precision", self.precision, reason, "use bf16-mixed, which has fp32's range"
            )
        one_of("trainer.precision", self.precision, ("32-true", "bf16-mixed"))
        self.strategy = member("trainer.strategy", self.strategy, Strategy)
        self.memory = member("trainer.memory", self.memory, MemoryLimit)
        check_counts("trainer", self)
        if self.devices > 1 and self.strategy != "ddp":
            raise refuse(
                "trainer.devices", self.devices, "each needs its own process", "set trainer.strategy=ddp"
            )
        at_least("trainer.checkpoint_seconds", self.checkpoint_seconds, 0)

    def check(self, networks: int) -> None:
        """Raise ConfigError unless the devices can share `networks` networks equally."""
        if networks % self.devices:
            allowed = f"must be a multiple of trainer.devices={self.devices}, which share the networks"
            raise refuse("init.networks", networks, allowed)
