"""What the README opens with: how good distilled sets are, in a sentence, and how they look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataset_distillation.distilled.pictures import mosaic, png, visible
from dataset_distillation.report import seeds
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.report.seeds import measured

#: The experiments, and what each says.
SENTENCES = {
    "mnist_fixed_10": "Ten images bring one known LeNet to",
    "mnist_random_100": "A hundred images bring LeNets that they have never met to",
    "mnist_random_100_adam": "With learned labels and a hundred steps of Adam, a hundred bring them to",
}
#: Those of the picture, the upper row first.
PICTURED = ("mnist_random_100", "mnist_fixed_10")


def sentence(runs: Sequence[RecordedRun]) -> str:
    """Return how many per cent of MNIST's test images, and of full training, the experiments reach."""
    said = []
    for experiment, text in SENTENCES.items():
        own = seeds.of(runs, experiment)
        ours, full = measured(own, "distilled"), measured(own, "full_training")
        if ours and full:
            share = f"{100 * ours.mean / full.mean:.0f} % of what the whole training set gives"
            said.append(f"{text} {ours.mean:.1f} % on MNIST's test set: {share} ({full.mean:.1f} %).")
    return "\n".join(said) + "\n"


def picture(runs: Sequence[RecordedRun]) -> bytes | None:
    """Return a PNG of the first ten images of each experiment, one row for each; None if a run is missing."""
    rows = []
    for experiment in PICTURED:
        sets = [run.distilled for run in seeds.of(runs, experiment) if run.distilled]
        if not sets:
            return None
        rows.append(mosaic(visible(sets[0].pixels[0, :10])))
    return png(np.concatenate(rows))
