"""The fastest engine for this network, number of networks, length of the run, and machine."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.errors import refuse
from dataset_distillation.unroll import Unroll


@dataclass
class Auto(Unroll):
    """A run replaces it by the engine that `outer/choice.py` chooses, and says which one, and why.

    batch_networks: as in every engine.
    compile: must be False; whether torch compiles is a part of the choice.

    Raises ConfigError if a value is not allowed.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compile:
            allowed = "must be false with unroll=auto, which compiles where that pays"
            raise refuse("unroll.compile", True, allowed, "use unroll=traced to compile in any case")
