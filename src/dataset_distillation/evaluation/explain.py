"""`explain=true`: how much a number depends on what the file of a set does not say, one factor at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from dataset_distillation.architectures import WeightScheme
from dataset_distillation.datasets.data import Data, Specification, Split
from dataset_distillation.datasets.whitening import Whitening
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.exchange.meaning import OF_DC, OF_DD, PIXELS, REGULARIZATION
from dataset_distillation.evaluation.options import Training
from dataset_distillation.evaluation.presets import PRESETS
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.problem import Problem

LARGEST_WHITENED = 3 * 32 * 32  # numbers of an image; a whitening takes their cube in operations
Constants = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std, by channel


class Variant(NamedTuple):
    """The distilled data with one factor changed: their steps, how networks are trained, the test images.

    problem: whose networks are trained, if they are not those of the other rows.
    """

    name: str
    sets: Schedule
    how: Training
    test: Split
    problem: Problem | None = None


def variants(problem: Problem, distilled: DistilledSet, how: Training, number: int) -> Iterator[Variant]:
    """Yield the set with one factor changed, for `number` networks; all else is as the command says.

    Normalization: test images are normalized by other constants than the set, which is the usual mistake.
    Whitening: test images are not whitened, though the set is; or they are, as other projects do.
    Labels: learned ones are read as classes, or as logits through a softmax. Augmentation: images are
    changed at random as in the distillation, if `how` says otherwise. Initial weights: drawn as this paper
    does, or as torch's layers are, as in later papers. Training: each other preset.
    """
    as_asked = Schedule(distilled, how, problem.seed, number)
    for whose, (mean, std) in _normalizations(problem.data.test).items():
        specification = replace(problem.data.test.specification, mean=mean, std=std)
        test = replace(problem.data.test, specification=specification)
        yield Variant(f"distilled_normalized_{whose}", as_asked, how, test)
    for name, specification in _whitenings(problem.data, problem.objective.numbers):
        test = replace(problem.data.test, specification=specification)
        yield Variant(f"distilled_tested_{name}", as_asked, how, test)
    if distilled.labels.ndim == 3 and not problem.objective.numbers:
        readings = {"classes": distilled.labels.argmax(dim=-1), "logits": distilled.labels.softmax(dim=-1)}
        for reading, labels in readings.items():
            sets = Schedule(replace(distilled, labels=labels), how, problem.seed, number)
            yield Variant(f"distilled_with_labels_as_{reading}", sets, how, problem.data.test)
    if misses_augmentation(problem, how):
        seen = replace(how, augmentation=problem.augmentation)
        yield Variant("distilled_with_augmentation_as_distilled", as_asked, seen, problem.data.test)
    if not problem.init.known and not problem.init.trained:
        for scheme in (WeightScheme.xavier, WeightScheme.own):
            if scheme != problem.architecture.weights:
                drawn = replace(problem, architecture=replace(problem.architecture, weights=scheme))
                yield Variant(f"distilled_with_weights_{scheme}", as_asked, how, problem.data.test, drawn)
    for name, preset in PRESETS.items():
        augmented = preset.augmentation is not None and preset.augmentation.numbers
        if preset != how and not (augmented and problem.objective.numbers):
            sets = Schedule(distilled, preset, problem.seed, number)
            yield Variant(f"distilled_with_training_{name}", sets, preset, problem.data.test)


def misses_augmentation(problem: Problem, how: Training) -> bool:
    """Return whether the set was distilled for augmented images, and `how` trains networks otherwise."""
    return bool(problem.augmentation.numbers) and how.augmentation not in (None, problem.augmentation)


def _normalizations(test: Split) -> dict[str, Constants]:
    """The other constants that sets of this data are normalized by, by project; and none at all."""
    here, channels = test.specification, test.specification.shape[0]
    found = {"by_dc": OF_DC.get(here.name), "by_dd": OF_DD.get(here.name)}
    known: dict[str, Constants] = {whose: both for whose, both in found.items() if both}
    known["not_at_all"] = ((0.0,) * channels, (1.0,) * channels)
    return {whose: both for whose, both in known.items() if _apart(both, (here.mean, here.std))}


def _whitenings(data: Data, numbers: bool) -> Iterator[tuple[str, Specification]]:
    """The other ways to see test images: not whitened, or by other projects' whitenings if they are small."""
    here, channels = data.test.specification, data.test.specification.shape[0]
    if here.whitening:
        yield "not_whitened", replace(here, whitening=None)
    if not len(data.train) or numbers or math.prod(here.shape) > LARGEST_WHITENED:
        return
    mean, std = ((PIXELS[constant],) * channels for constant in ("mean", "std"))
    pixels = replace(here, mean=mean, std=std, whitening=None)
    train = replace(data.train, specification=pixels)
    for whose, kind in {"by_mtt": Whitening.zca, "by_rat_bptt": Whitening.zca_per_image}.items():
        if here.whitening is None or here.whitening.kind != kind:
            whitening = train.whitening(kind, REGULARIZATION)
            yield f"whitened_{whose}", replace(pixels, whitening=whitening)


def _apart(one: Constants, other: Constants) -> bool:
    if len(one[0]) != len(other[0]):  # the project has another number of channels
        return False
    return any(abs(a - b) > 1e-3 for a, b in zip(one[0] + one[1], other[0] + other[1], strict=True))
