"""What the numbers of a set mean, which its file does not say: told by the command, or found out and said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dataset_distillation.errors import (
    ConfigError,
    check_counts,
    count,
    member,
    positive,
    refuse,
    single_precision,
)

#: Mean and std by which the DC family (DC, DSA, DM, MTT, DATM, IDC, ...) normalizes, from utils.py of
#: github.com/VICO-UoE/DatasetCondensation and of mtt-distillation, and from data.py of IDC.
OF_DC = {
    "MNIST": ((0.1307,), (0.3081,)),
    "FashionMNIST": ((0.2861,), (0.3530,)),
    "SVHN": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "CIFAR10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "CIFAR100": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}
#: Those of Wang et al., from datasets/__init__.py of github.com/ssnl/dataset-distillation.
OF_DD = {
    "MNIST": ((0.1307,), (0.3081,)),
    "USPS": ((0.15972736477851868,), (0.25726667046546936,)),
    "SVHN": ((0.4379104971885681, 0.44398033618927, 0.4729299545288086),
             (0.19803012907505035, 0.2010156363248825, 0.19703614711761475)),
    "CIFAR10": ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
}  # fmt: skip
CONSTANTS = {"dc": OF_DC, "mtt": OF_DC, "datm": OF_DC, "idc": OF_DC, "dd": OF_DD}


class Labels(StrEnum):
    """How float labels are read; `weights`: as they are, one weight of the cross-entropy per class."""

    auto = "auto"
    classes = "classes"
    probabilities = "probabilities"
    logits = "logits"
    centered = "centered"
    weights = "weights"


class Range(StrEnum):
    """What the images are: normalized, pixels in [0, 1], or pixels in [0, 255]."""

    auto = "auto"
    normalized = "normalized"
    pixels = "pixels"
    bytes = "bytes"


class Zca(StrEnum):
    """How images are whitened (ZCA): not; as MTT does, by kornia; or per image, as RaT-BPTT and KIP do."""

    auto = "auto"
    none = "none"
    kornia = "kornia"
    per_image = "per_image"


@dataclass(frozen=True)
class Meaning:
    """What the command says about the numbers of a file; `auto` and None: what can be found out.

    factor: each image holds factor × factor smaller ones, which are enlarged (the multi-formation of IDC).
    learning_rate: the rate at which networks are trained on it, if the file has none.
    epochs: the passes over it.

    Raises ConfigError if a value is not allowed.
    """

    labels: str = Labels.auto
    range: str = Range.auto
    zca: str = Zca.auto
    factor: int | None = count(None, most=64)
    learning_rate: float | None = None
    epochs: int | None = count(None, most=100_000)

    def __post_init__(self) -> None:
        check_counts("--", self)
        for key, kind in (("labels", Labels), ("range", Range), ("zca", Zca)):
            member(f"--{key}", getattr(self, key), kind)
        if self.learning_rate is not None:
            positive("--learning-rate", self.learning_rate)
            single_precision("--learning-rate", self.learning_rate)


def in_order(images: int, classes: int) -> Tensor:
    """Return the labels (1, images) of images without any: ordered by class, as many of each.

    Raises ValueError if they are no multiple of `classes`.
    """
    if images % classes:
        raise ValueError(f"{images} images without labels, no multiple of the {classes} classes")
    return torch.arange(classes).repeat_interleave(images // classes)[None]


def labels_of(labels: Tensor, classes: int, reading: str, layout: str) -> tuple[Tensor, str]:
    """Return labels (steps, n) of classes or (steps, n, classes) of weights, and how they were read.

    Raises ValueError if they do not fit `classes`, and ConfigError if the command must say what they mean.
    """
    if labels.ndim == 2 and reading in (Labels.auto, Labels.classes):
        rounded = labels.round().long()
        if (
            not labels.equal(rounded.to(labels.dtype))
            or not 0 <= int(rounded.min()) <= int(rounded.max()) < classes
        ):
            raise ValueError(f"its labels are not numbers of the {classes} classes")
        return rounded, "classes"
    if labels.ndim != 3 or labels.shape[-1] != classes:
        raise ValueError(f"labels {tuple(labels.shape[1:])} for {classes} classes, to be read as {reading}")
    reading = _found_out(labels.float(), layout) if reading == Labels.auto else reading
    labels = labels.float()
    if reading == Labels.classes:
        return labels.argmax(dim=-1), "classes, those of the largest number"
    if reading == Labels.logits:
        return labels.softmax(dim=-1), "logits, through a softmax"
    if reading == Labels.centered:
        return labels + 1 / classes, f"centered: 1/{classes} was added"
    if reading == Labels.probabilities and not _sums(labels, 1):
        raise ConfigError("--labels=probabilities: these do not sum to 1; use --labels weights or logits")
    return labels, f"{reading}, as they are"


def _found_out(labels: Tensor, layout: str) -> str:
    if labels.min() >= 0 and _sums(labels, 1):
        return Labels.probabilities
    if layout == "datm":
        return Labels.logits
    if layout == "rat_bptt" and labels.min() >= 0:
        return Labels.weights
    if _sums(labels, 0) and labels.abs().max() <= 1:
        return Labels.centered
    low, high = labels.min().item(), labels.max().item()
    remedy = "add --labels logits, centered, weights or classes"
    raise refuse(
        "--labels", "auto", f"the labels, from {low:.3g} to {high:.3g}, could mean several things", remedy
    )


def _sums(labels: Tensor, total: float) -> bool:
    return bool(((labels.sum(dim=-1) - total).abs() < 1e-3).all())


def range_of(images: Tensor, asked: str, layout: str) -> str:
    """Return the range: `normalized`, `pixels` or `bytes`. Raises ConfigError if they look otherwise."""
    low, high = images.min().item(), images.max().item()
    if asked != Range.auto:
        return asked
    usual = Range.pixels if layout in ("idc", "images") else Range.normalized
    looks = Range.bytes if high > 30 else Range.pixels if low >= 0 and high <= 1 else usual
    if usual == Range.pixels and (low < -1 or high > 2) and looks != Range.bytes:
        looks = Range.normalized
    if looks != usual:
        told = f"values from {low:.3g} to {high:.3g} look like {looks}, and this layout has {usual}"
        raise refuse("--range", "auto", told, f"add --range {looks}, or --range {usual}")
    return usual


#: Below, images may be whitened: real ones of CIFAR-10 have 0.90, and 0.64 after kornia's ZCA.
LEAST_ALIKE = 0.8


def neighbors(images: Tensor) -> float:
    """The correlation of horizontally adjacent pixels of an image: about 0.9 in photographs, 0 in noise."""
    centered = images - images.mean(dim=(-2, -1), keepdim=True)
    left, right = centered[..., :-1].flatten().double(), centered[..., 1:].flatten().double()
    return float(left @ right / (left.norm() * right.norm()).clamp(min=1e-12))


#: What whitens pixels in [0, 1] as they are; of each channel.
PIXELS: dict[str, float] = {"mean": 0.0, "std": 1.0}
REGULARIZATION = 0.1  # of all projects for CIFAR-10
#: The options of a dataset by which MTT, TESLA and DATM whiten, from utils.py of mtt-distillation: kornia's.
KORNIA = {"whitening": "zca", "regularization": REGULARIZATION, **PIXELS}


def whitening(asked: str, layout: str) -> dict[str, Any]:
    """Return the options of a dataset that whiten test images as the set is; mean and std of each channel.

    RaT-BPTT whitens pixels, from framework/config.py of RaT-BPTT; KIP's are normalized by channel before.
    """
    if asked == Zca.kornia:
        return KORNIA
    if asked == Zca.per_image:
        return {"whitening": "zca_per_image", **(PIXELS if layout == "rat_bptt" else {})}
    return {}


def check_whitening(images: Tensor, asked: str, layout: str) -> str:
    """Return what is known about whitening. Raises ConfigError if images may be whitened in any way."""
    correlation = neighbors(images)
    alike = f"neighboring pixels correlate by {correlation:.2f}"
    if asked == Zca.none:
        return f"not whitened, as you say ({alike})"
    if asked != Zca.auto:
        doubt = f", and in images that are not whitened by {LEAST_ALIKE} or more"
        return f"whitened as you say, {asked} ({alike}{doubt if correlation >= LEAST_ALIKE else ''})"
    if layout in ("mtt", "datm", "kip", "rat_bptt") and correlation < LEAST_ALIKE:
        allowed = f"the file does not say whether its images are whitened, and {alike} (photographs: 0.9)"
        raise refuse("--zca", "auto", allowed, "add --zca none, kornia or per_image")
    return f"taken as not whitened ({alike})"


def formed(images: Tensor, labels: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Cut images (n, c, h, w) into factor × factor parts, and enlarge each to h × w: IDC's multi-formation.

    Sides that are no multiple of `factor` are padded by gray, 0.5. The labels are repeated.
    """
    height, width = images.shape[-2:]
    part = math.ceil(height / factor), math.ceil(width / factor)
    padded = functional.pad(images, (0, part[1] * factor - width, 0, part[0] * factor - height), value=0.5)
    parts = padded.unfold(2, part[0], part[0]).unfold(3, part[1], part[1])  # n, c, row, column, h, w
    parts = parts.permute(2, 3, 0, 1, 4, 5).flatten(0, 2)
    enlarged = functional.interpolate(parts, size=(height, width), mode="bilinear", align_corners=False)
    return enlarged, torch.cat([labels] * factor**2)
