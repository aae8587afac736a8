"""The options of the distilled data."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.errors import one_of, positive


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
