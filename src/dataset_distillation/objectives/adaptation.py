"""Networks trained on a source data set shall classify another one after a few steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.errors import refuse
from dataset_distillation.objectives.standard import Standard

if TYPE_CHECKING:
    from dataset_distillation.experiment.tree import Experiment


@dataclass
class Adaptation(Standard):
    """Section 4, adaptation: Eq 3 on the target, with θ0 trained on the source."""

    def check(self, experiment: Experiment) -> None:
        if not experiment.init.trained:
            remedy = "take init=pretrained dataset@init.source=..."
            raise refuse("objective", "adaptation", "is of networks trained on another data set", remedy)
        source = getattr(experiment.init, "source", experiment.init)
        if source in (None, experiment.dataset):
            remedy = "choose another, for example dataset@init.source=usps, or objective=standard"
            name = experiment.dataset.name
            raise refuse("init.source", name, "is the data set that is distilled", remedy)
