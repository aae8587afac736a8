"""`distill-import` and `distill-export`: sets of other projects as artifacts, and the other way round."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from dataset_distillation.cli.help import version_line
from dataset_distillation.cli.job import chosen
from dataset_distillation.cli.messages import EXPECTED, Arguments, complain
from dataset_distillation.errors import ConfigError, NoFile, one_of, printable, refuse
from dataset_distillation.experiment import compose as experiment_config
from dataset_distillation.experiment.choices import choices
from dataset_distillation.run.interruption import interruptible

if TYPE_CHECKING:
    from dataset_distillation.pipeline.exchange import Trained

LAYOUTS = ("auto", "dc", "mtt", "datm", "idc", "dd", "kip", "rat_bptt", "lgm", "images", "ours")
IMPORT = """\
Read a distilled set that another project has released, and write it as an artifact, which distill-evaluate
judges. No code of the file is run. What the file does not say is found out and said, or asked for.

layouts (--format): dc (DC, DSA, DM, DataDAM: res_*.pt), mtt (MTT, TESLA: images_best.pt, labels_best.pt),
  datm (the same with logits and lr_best.pt), idc (IDC, DREAM, NCFM: data.pt), dd (Wang et al.: results.pth),
  kip (KIP, FRePo: npz), rat_bptt (RaT-BPTT, AT-BPTT: .h5, for which h5py is needed, or .pth),
  lgm (LGM: data.pth), images (SRe2L, RDED, ...: a folder of images per class),
  ours (what distill-export has written, which needs no --dataset)

examples:
  distill-import res_DC_CIFAR10_ConvNet_10ipc.pt --dataset cifar10 --output dc.safetensors
  distill-import logged_files/CIFAR10/best --dataset cifar10 --zca none --output mtt.safetensors
  distill-import data.pt --dataset cifar10 --factor 2 --output idc.safetensors
  distill-evaluate -m artifact=dc.safetensors training=ours,dc
"""


EXPORT = """\
Write an artifact as files that need none of this code. npz, pt and huggingface have all of it: distill-import
makes the same artifact of them. images are for looking at: 8 bits, and what lies outside of [0, 1] is lost.

examples:
  distill-export outputs/demo/distilled.safetensors --to npz
  distill-export outputs/demo/distilled.safetensors --to huggingface --output my_data_set
"""
TARGETS = ("images", "npz", "pt", "huggingface")


def import_set() -> None:
    """Print what was found out about the set, and the file that was written."""
    _print(read_and_write)


def export_set() -> None:
    """Print the files that were written, and what they lack."""
    _print(export)


def _print(program: Callable[[list[str]], list[str]]) -> None:
    try:
        with interruptible():
            for line in program(sys.argv[1:]):
                print(line)
    except EXPECTED as error:
        sys.exit(complain(error))


def read_and_write(arguments: list[str]) -> list[str]:
    """Import the set that the arguments name; return the lines to print."""
    options = import_parser().parse_intermixed_args(arguments)
    if options.file is None:
        raise ConfigError("FILE: is missing; name the file or the folder of the set, as in --help")
    if options.output is None or options.output.suffix != ".safetensors":
        remedy = "it is the artifact to write"
        raise refuse("--output", options.output or "", "must be a name that ends with .safetensors", remedy)
    if not options.file.exists():
        raise NoFile(f"{printable(str(options.file))}: no such file")
    one_of("--format", options.format, LAYOUTS)
    _refuse_existing(options.output)
    # These imports follow the answer to --help, because they import torch.
    from dataset_distillation.distilled.exchange import exported, pictures

    if options.format == "ours" or (options.format == "auto" and exported.json_of(options.file)):
        _refuse_options(options)
        exported.read_back(options.file).save(options.output)
        return ["layout ours: as it was exported", str(options.output)]
    if options.dataset is None:
        what = "has pictures, which have lost too much to be the same set again"
        told = what if (options.file / pictures.JSON).is_file() else "is no export of ours"
        remedy = "name the data set that it was distilled from, as for distill"
        raise ConfigError(f"--dataset: is missing, and {options.file} {told}; {remedy}")
    one_of("--dataset", options.dataset, choices("dataset"))
    return _of_others(options)


def _refuse_options(options: argparse.Namespace) -> None:
    """Raise ConfigError for options of the sets of others, since an export of ours says all of itself."""
    from dataset_distillation.distilled.exchange.meaning import Meaning

    said = "the set is an export of distill-export, which says this itself"
    usual = import_parser()
    for name in ("dataset", *(f.name for f in dataclasses.fields(Meaning))):
        if (value := getattr(options, name)) != usual.get_default(name):
            raise refuse(f"--{name.replace('_', '-')}", value, said, "leave it out, or name another --format")
    for key, _, value in (override.partition("=") for override in options.overrides):
        raise refuse(key, value, said, "leave it out, or name another --format")


def _of_others(options: argparse.Namespace) -> list[str]:
    from dataset_distillation.distilled.exchange import layouts
    from dataset_distillation.distilled.exchange.meaning import PIXELS, Meaning, whitening
    from dataset_distillation.pipeline.exchange import OTHERS, TRAINED, imported

    told = Meaning(*(getattr(options, f.name) for f in dataclasses.fields(Meaning)))
    layout = layouts.recognized(options.file) if options.format == "auto" else options.format
    found = None if layout == "images" else layouts.read(options.file, layout)
    config = _composed(options.dataset, TRAINED.get(layout, OTHERS), options.overrides)
    task = experiment_config.task_of(config)
    if whitened := whitening(told.zca, layout):
        for key, _, value in (override.partition("=") for override in options.overrides):
            if key.removeprefix("dataset.") in whitened:
                raise refuse(key, value, f"is what --zca {told.zca} says", "leave it out")
        channels = experiment_config.read(task.copy()).dataset.channels  # as typed: it may be any number
        constants = {key: [whitened[key]] * channels for key in PIXELS if key in whitened}
        task.dataset.update({**whitened, **constants})
    e = experiment_config.read(task)
    constants_told = "mean" in whitened or any(
        override.startswith(("dataset.mean=", "dataset.std=")) for override in options.overrides
    )
    resolved, groups = experiment_config.resolved(task), chosen(config.hydra.runtime.choices)
    result = imported(options.file, layout, found, told, e, resolved, groups, constants_told)
    result.distilled.save(options.output)
    return [*result.notes, str(options.output)]


def export(arguments: list[str]) -> list[str]:
    """Export the artifact that the arguments name; return the lines to print."""
    options = export_parser().parse_args(arguments)
    one_of("--to", options.to, TARGETS)
    from dataset_distillation.distilled.artifact import load_distilled
    from dataset_distillation.distilled.exchange import exported, pictures

    suffix = f".{options.to}" if options.to in ("npz", "pt") else ""
    usual = options.artifact.with_suffix(suffix or f".{options.to}")
    path = options.output or usual
    if suffix and path.suffix != suffix:
        raise refuse("--output", path, f"must end with {suffix}")
    _refuse_existing(path)
    distilled = load_distilled(options.artifact)
    if suffix and (beside := exported.other_beside(distilled, path)):
        allowed = f"would replace {beside}, which is of something else"
        raise refuse("--output", path, allowed, "remove that file, or choose another name")
    if options.to != "images":
        return list(map(str, exported.WRITERS[options.to](distilled, path)))
    files, outside = pictures.to_images(distilled, path)
    described = exported.described(distilled, path / pictures.JSON, pictures.USE)
    lost = f"{outside:.1%} of the numbers lie outside [0, 1] and were clipped, so that these train worse"
    labels = ["its learned labels are lost, too"] if distilled.labels.ndim == 3 else []
    return [f"LOST: {lost}", *labels, f"{len(files)} pictures, and {described}", str(path)]


def _refuse_existing(path: Path) -> None:
    """Raise ConfigError if writing to `path` would replace something."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise refuse("--output", path, "exists already", "remove it, or choose another")


def _composed(dataset: str, trained: Trained, overrides: list[str]) -> DictConfig:
    """The experiment that judges the set: the field's network, and how it trains; `overrides` come last."""
    decay = ["inner_optimizer.weight_decay=0.0005"] if trained.inner_optimizer == "momentum" else []
    how = [f"inner_optimizer={trained.inner_optimizer}", *decay, f"augmentation={trained.augmentation}"]
    usual = ["init=random", "evaluation.networks=5", "evaluation.baselines=[]"]
    experiment_config.register()
    with hydra.initialize_config_module("dataset_distillation.conf", version_base="1.3"):
        typed = [f"dataset={dataset}", "architecture=convnet", *how, *usual, *overrides]
        return hydra.compose("config", typed, return_hydra_config=True)


def import_parser() -> Arguments:
    parser = Arguments(
        "distill-import", description=IMPORT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, help="the file, or its folder")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="values of the experiment that judges it, as of distill: "
        "dataset.mean=[...], architecture=lenet, ...",
    )
    parser.add_argument("--dataset", help="the data set that it was distilled from, a choice of distill")
    parser.add_argument("--output", type=Path, help="the artifact to write, a .safetensors file")
    parser.add_argument("--format", default="auto", help=f"its layout: {', '.join(LAYOUTS)}")
    parser.add_argument(
        "--labels", default="auto", help="auto, classes, probabilities, logits, centered or weights"
    )
    parser.add_argument(
        "--range", default="auto", help="auto, normalized, pixels (in [0, 1]) or bytes (in [0, 255])"
    )
    parser.add_argument("--zca", default="auto", help="auto, none, kornia or per_image")
    parser.add_argument(
        "--factor", type=int, help="images that each one holds, per side (the multi-formation of IDC)"
    )
    parser.add_argument("--learning-rate", type=float, help="the rate at which networks are trained on it")
    parser.add_argument("--epochs", type=int, help="passes over it")
    parser.add_argument("--version", action="version", version=version_line())
    return parser


def export_parser() -> Arguments:
    parser = Arguments(
        "distill-export", description=EXPORT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path, help="a distilled.safetensors")
    parser.add_argument("--to", required=True, help=", ".join(TARGETS))
    parser.add_argument(
        "--output", type=Path, help="the file or folder to write; beside the artifact by default"
    )
    parser.add_argument("--version", action="version", version=version_line())
    return parser
