"""What pretrained networks have in common: the source they are trained on, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.datasets import Dataset
from dataset_distillation.errors import refuse
from dataset_distillation.init import Init
from dataset_distillation.networks.options import Pretraining

if TYPE_CHECKING:
    from dataset_distillation.experiment.tree import Experiment


@dataclass
class Pooled(Init):
    """θ0 from a pool of networks (pool.py), all trained in the same way."""

    trained: ClassVar[bool] = True

    source: Dataset | None = None  # null: the data set that is distilled
    pretraining: Pretraining = field(default_factory=Pretraining)

    def check(self, experiment: Experiment) -> None:
        target = experiment.dataset
        if (trained_on := self.source or target).numbers:
            raise refuse(
                "init.source", trained_on.name, "only classifiers are pretrained", "take init=random"
            )
        if self.source is None:
            return
        for key in ("channels", "image_size"):
            if (theirs := getattr(self.source, key)) != (ours := getattr(target, key)):
                raise refuse(
                    f"init.source.{key}",
                    theirs,
                    f"dataset.{key} is {ours}, and one network takes both",
                    f"set init.source.{key} and dataset.{key} to the same value",
                )
