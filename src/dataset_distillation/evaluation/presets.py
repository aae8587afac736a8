"""The field's ways to train on a distilled set, as `conf/training/` has them; a test compares the two."""

from __future__ import annotations

from dataclasses import replace

from dataset_distillation.augmentation.dsa import DSA
from dataset_distillation.augmentation.none import NoAugmentation
from dataset_distillation.evaluation.options import Training
from dataset_distillation.inner_optimizers.momentum import Momentum

_DC = Training(
    epochs=300,
    learning_rate=0.01,
    batch_size=256,
    decay=0.1,
    optimizer=Momentum(weight_decay=5e-4),
    augmentation=NoAugmentation(),
    running_statistics=True,
)
_DSA = replace(_DC, epochs=1000, augmentation=DSA())
_MTT = replace(_DSA, learning_rate=None, mean_rate=True)

PRESETS = {"ours": Training(), "dc": _DC, "dsa": _DSA, "mtt": _MTT}
