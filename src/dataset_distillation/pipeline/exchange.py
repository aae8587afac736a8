"""distill-import: a set that another project has released, as an artifact of ours."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dataset_distillation.datasets import Dataset
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.exchange import layouts, meaning
from dataset_distillation.distilled.exchange.found import Found
from dataset_distillation.distilled.exchange.meaning import Meaning, Range
from dataset_distillation.errors import choice_of, damaged, refuse
from dataset_distillation.experiment.tree import Experiment


class Trained(NamedTuple):
    """How a project trains on its sets."""

    learning_rate: float
    epochs: int
    inner_optimizer: str
    augmentation: str = "none"


#: If neither file nor command says.
TRAINED = {
    "dd": Trained(0.02, 1, "sgd"),
    "dc": Trained(0.01, 300, "momentum"),
    "images": Trained(0.01, 300, "momentum"),
    "rat_bptt": Trained(0.001, 1000, "adam", "flip_rotate"),
}
OTHERS = Trained(0.01, 1000, "momentum")


class Imported(NamedTuple):
    """The set, and lines on what was found out and what was taken as the command said."""

    distilled: DistilledSet
    notes: list[str]


def imported(
    path: Path,
    layout: str,
    found: Found | None,
    told: Meaning,
    e: Experiment,
    config: dict[str, Any],
    choices: dict[str, str],
    constants_told: bool,
) -> Imported:
    """Return the set in `path`.

    found: what it holds; None: a folder of images, which are read in the size of the data set.
    e, config, choices: the experiment that judges it, as composed: data set, network, inner optimizer.
    constants_told: whether the command gave mean and std; else those of the project are taken.

    Raises UserError, with a message of one line, if the file cannot be read or does not fit the data set, and
    ConfigError if the command must say more.
    """
    shape = (e.dataset.channels, e.dataset.image_size, e.dataset.image_size)
    if found is None:
        found = layouts.folder(path, e.dataset.channels, e.dataset.image_size, _known(e.dataset))
    if tuple(found.images.shape[2:]) != shape:
        there, key = "×".join(map(str, found.images.shape[2:])), f"dataset={choices['dataset']}"
        fitting = f"dataset.channels={found.images.shape[2]} dataset.image_size={found.images.shape[3]}"
        raise refuse(
            "--dataset", choices["dataset"], f"images are {there}", f"choose another, or {fitting} of {key}"
        )
    whitening = meaning.whitening(told.zca, layout)
    if e.dataset.whitening != whitening.get("whitening", "none"):
        raise refuse("dataset.whitening", e.dataset.whitening, "is what --zca says", "leave it out")
    if e.dataset.whitening != "none" and (told.factor or 1) > 1:
        allowed = f"must be 1 with --zca {told.zca}: pixels are cut, not whitened images"
        raise refuse("--factor", told.factor, allowed)
    names = _names(e.dataset, found)
    who = f"as --zca {told.zca} says" if "mean" in whitening else "as you say"
    mean, std, whose = _constants(layout, e.dataset, who if constants_told else "")
    try:
        own = found.labels
        if own is None:
            own = meaning.in_order(found.images.shape[1], len(names))
        labels, read_as = meaning.labels_of(own, len(names), told.labels, layout)
        images, range_note = _normalized(found.images, told, layout, mean, std)
        how = meaning.check_whitening(found.images, told.zca, layout)
        if told.factor and told.factor > 1:
            images, labels = _formed(images, labels, told.factor, mean, std)
    except ValueError as error:
        raise damaged(path, f"a set in the layout {layout} of {e.dataset.title}", error) from error
    rates, rate_note = _rates(found, told, layout)
    notes = [
        f"layout {layout}", *found.notes, f"labels read as {read_as}", range_note,
        f"normalized by mean {_row(mean)} and std {_row(std)}, {whose}", how, rate_note,
    ]  # fmt: skip
    metadata = _metadata(e, config, choices, names, mean, std) | {
        "imported": {"layout": layout, "notes": notes}
    }
    # The matrix is fitted again on the train split here; the projects' own are of all train images.
    plain, stored = None, {}
    if e.dataset.whitening != "none" and (zca := e.dataset.load(e.seed).specification.whitening):
        plain, metadata = zca.undo(images), metadata | {"whitening": zca.described}
        stored = zca.stored if e.distilled.store_whitening else {}
    distilled = DistilledSet(images, labels, rates, {}, metadata, plain, stored)
    _set_size(distilled)
    distilled.check()
    return Imported(distilled, notes)


def _known(dataset: Dataset) -> Sequence[str]:
    return dataset.class_names or dataset.known_names()


def _names(dataset: Dataset, found: Found) -> list[str]:
    """The names of the classes: those of the data set, else of the file, else numbers."""
    if names := _known(dataset) or found.names:
        return list(names)
    if (labels := found.labels) is None:
        allowed = "the file has no labels, so that the classes must be known"
        raise refuse("dataset.class_names", dataset.class_names, allowed, "add dataset.class_names=[...]")
    number = labels.shape[-1] if labels.ndim == 3 else max(2, int(labels.max()) + 1)
    return list(map(str, range(min(number, 100_000))))


def _constants(layout: str, dataset: Dataset, told: str) -> tuple[list[float], list[float], str]:
    theirs = meaning.CONSTANTS.get(layout, {}).get(dataset.name)
    if theirs and not told and len(theirs[0]) == dataset.channels:
        return list(theirs[0]), list(theirs[1]), "those of the project"
    if dataset.mean is None or dataset.std is None or len(dataset.mean) != dataset.channels:
        remedy = "add dataset.mean=[...] dataset.std=[...], by which its images were normalized"
        raise refuse(
            "dataset.mean", dataset.mean, f"those of the project are not known for {dataset.title}", remedy
        )
    whose = told or f"those of {dataset.title} here, since the project's are not known"
    return list(dataset.mean), list(dataset.std), whose


def _normalized(
    images: Tensor, told: Meaning, layout: str, mean: list[float], std: list[float]
) -> tuple[Tensor, str]:
    if layout == "idc" and told.factor is None:
        allowed = "the file does not say how many images each one holds"
        raise refuse("--factor", "auto", allowed, "add --factor 1 (NCFM), or 2 or 3 (IDC, DREAM)")
    kind = meaning.range_of(images, told.range, layout)
    images = images.float()
    low, high = images.min().item(), images.max().item()
    if kind != Range.normalized:
        scaled = images / 255 if kind == Range.bytes else images
        images = (scaled - _channels(mean)) / _channels(std)
    return images, f"images from {low:.3g} to {high:.3g}, taken as {kind}"


def _formed(
    images: Tensor, labels: Tensor, factor: int, mean: list[float], std: list[float]
) -> tuple[Tensor, Tensor]:
    pixels = images[0] * _channels(std) + _channels(mean)  # the padding is gray
    parts, labels = meaning.formed(pixels, labels[0], factor)
    return ((parts - _channels(mean)) / _channels(std))[None], labels[None]


def _rates(found: Found, told: Meaning, layout: str) -> tuple[Tensor, str]:
    """The learning rates (epochs, steps), and where they come from."""
    usual, epochs, *_ = TRAINED.get(layout, OTHERS)
    if found.rates is not None and found.rates.numel() > 1:
        return found.rates, "learning rates as in the file"
    steps = len(found.images)
    if told.learning_rate is not None:
        rate, whose = told.learning_rate, "as you say"
    elif found.rates is not None:
        rate, whose = float(found.rates), "as in the file"
    else:
        rate, whose = usual, "the project's usual one: the file has none; --learning-rate sets it"
    return torch.full((told.epochs or epochs, steps), rate), f"learning rate {rate:g}, {whose}"


def _metadata(
    e: Experiment,
    config: dict[str, Any],
    choices: dict[str, str],
    names: list[str],
    mean: list[float],
    std: list[float],
) -> dict[str, Any]:
    config = copy.deepcopy(config)
    config["dataset"] |= {"mean": mean, "std": std}
    return {
        "order": "epoch by epoch, in each epoch all steps in order, each with its own learning rate",
        "dataset": e.dataset.name,
        "class_names": names,
        "mean": mean,
        "std": std,
        "architecture": choice_of(e.architecture),
        "init": choice_of(e.init),
        "initial_weights_sha256": None,
        "objective": choice_of(e.objective),
        "loss": e.objective.loss,
        "inner_optimizer": choice_of(e.inner_optimizer),
        "augmentation": choice_of(e.augmentation),
        "train_images": None,
        "seed": e.seed,
        "choices": choices,
        "config": config,
    }


def _set_size(distilled: DistilledSet) -> None:
    """Let the config name the size of the set, so that baselines are of the same size."""
    steps, n = distilled.images.shape[:2]
    classes, kind = (
        len(distilled.metadata["class_names"]),
        "learned" if distilled.labels.ndim == 3 else "fixed",
    )
    size = {"images_per_class": max(1, n // classes), "steps": steps, "epochs": len(distilled.learning_rates)}
    distilled.metadata["config"]["distilled"] |= {**size, "labels": kind}


def _channels(values: list[float]) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1)


def _row(values: list[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
