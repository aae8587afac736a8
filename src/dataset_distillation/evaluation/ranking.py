"""The label robust score of DD-Ranking, for hard labels (arXiv 2505.13300).

https://nus-hpc-ai-lab.github.io/DD-Ranking/ defines it, of accuracies between 0 and 1:

    HLR = full training − distilled, both with hard labels    IOR = distilled − random real images
    α = w · IOR − (1 − w) · HLR, w = 0.5                      score = (e^α − e^−1) / (e − e^−1)

HLR and IOR lie in [−1, 1], and so does α: the score lies in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from dataset_distillation.run.records import EvaluationRow

WEIGHT = 0.5  # w, as on the leaderboard


class LabelRobust(NamedTuple):
    """HLR, IOR, and the score, of shares of 1."""

    recovery: float
    improvement: float
    score: float


def label_robust(rows: Mapping[str, EvaluationRow], learned: bool) -> LabelRobust | None:
    """Return the score of the means of `rows`, by method; None if a row that it needs is not there.

    learned: whether the labels were learned; the hard ones are then those of `explain=true`.
    """
    hard = "distilled_with_labels_as_classes" if learned else "distilled"
    names = ("full_training", hard, "distilled", "random_real")
    means = [rows[name].mean for name in names if name in rows]
    if len(means) < len(names) or None in means:
        return None
    full, of_hard, distilled, real = (float(mean or 0) for mean in means)
    recovery, improvement = full - of_hard, distilled - real
    alpha = WEIGHT * improvement - (1 - WEIGHT) * recovery
    return LabelRobust(recovery, improvement, (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1)))
