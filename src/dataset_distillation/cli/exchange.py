"""`distill-import` and `distill-export`: sets of other projects as artifacts, and the other way round."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

import hydra
from omegaconf import DictConfig, open_dict

from dataset_distillation.cli.help import version_line
from dataset_distillation.cli.job import chosen
from dataset_distillation.cli.messages import EXPECTED, complain
from dataset_distillation.errors import ConfigError, one_of
from dataset_distillation.experiment import compose as experiment_config
from dataset_distillation.run.interruption import interruptible

LAYOUTS = ("auto", "dc", "mtt", "datm", "idc", "dd", "kip", "images")
IMPORT = """\
Read a distilled set that another project has released, and write it as an artifact, which distill-evaluate
judges. No code of the file is run. What the file does not say is found out and said, or asked for.

layouts (--format): dc (DC, DSA, DM, DataDAM: res_*.pt), mtt (MTT, TESLA: images_best.pt, labels_best.pt),
  datm (the same with logits and lr_best.pt), idc (IDC, DREAM, NCFM: data.pt), dd (Wang et al.: results.pth),
  kip (KIP, FRePo: npz), images (SRe2L, RDED, ...: a folder of images per class)

examples:
  distill-import res_DC_CIFAR10_ConvNet_10ipc.pt --dataset cifar10 --output dc.safetensors
  distill-import logged_files/CIFAR10/best --dataset cifar10 --zca none --output mtt.safetensors
  distill-import data.pt --dataset cifar10 --factor 2 --output idc.safetensors
  distill-evaluate -m artifact=dc.safetensors training=ours,dc
"""


class Arguments(argparse.ArgumentParser):
    """A parser whose errors are one line, as those of the other programs."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def import_set() -> None:
    """Print what was found out about the set, and the file that was written."""
    try:
        with interruptible():
            for line in read_and_write(sys.argv[1:]):
                print(line)
    except EXPECTED as error:
        sys.exit(complain(error))


def read_and_write(arguments: list[str]) -> list[str]:
    """Import the set that the arguments name; return the lines to print."""
    options = _import_parser().parse_intermixed_args(arguments)
    one_of("--format", options.format, LAYOUTS)
    one_of("--dataset", options.dataset, experiment_config.choices("dataset"))
    # These imports follow the answer to --help, because they import torch.
    from dataset_distillation.distilled.exchange import layouts
    from dataset_distillation.distilled.exchange.meaning import Meaning
    from dataset_distillation.pipeline.exchange import OTHERS, TRAINED, imported

    told = Meaning(
        options.labels, options.range, options.zca, options.factor, options.learning_rate, options.epochs
    )
    layout = layouts.recognized(options.file) if options.format == "auto" else options.format
    found = None if layout == "images" else layouts.read(options.file, layout)
    *_, optimizer = TRAINED.get(layout, OTHERS)
    config = _composed(options.dataset, optimizer, options.overrides)
    task = config.copy()
    with open_dict(task):
        del task["hydra"]
    e = experiment_config.read(task)
    constants_told = any(
        override.startswith(("dataset.mean=", "dataset.std=")) for override in options.overrides
    )
    resolved, groups = experiment_config.resolved(task), chosen(config.hydra.runtime.choices)
    result = imported(options.file, layout, found, told, e, resolved, groups, constants_told)
    result.distilled.save(options.output)
    return [*result.notes, str(options.output)]


def _composed(dataset: str, optimizer: str, overrides: list[str]) -> DictConfig:
    """The experiment that judges the set: the field's network, and its optimizer; `overrides` come last."""
    decay = ["inner_optimizer.weight_decay=0.0005"] if optimizer == "momentum" else []
    field = ["architecture=convnet", "architecture.weights=own", f"inner_optimizer={optimizer}", *decay]
    usual = ["init=random", "evaluation.networks=5", "evaluation.baselines=[]"]
    experiment_config.register()
    with hydra.initialize_config_module("dataset_distillation.conf", version_base="1.3"):
        typed = [f"dataset={dataset}", *field, *usual, *overrides]
        return hydra.compose("config", typed, return_hydra_config=True)


def _import_parser() -> Arguments:
    parser = Arguments(
        "distill-import", description=IMPORT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the file, or its folder")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="values of the experiment that judges it, as of distill: "
        "dataset.mean=[...], architecture=lenet, ...",
    )
    parser.add_argument(
        "--dataset", required=True, help="the data set that it was distilled from, a choice of distill"
    )
    parser.add_argument(
        "--output", required=True, type=Path, help="the artifact to write, a .safetensors file"
    )
    parser.add_argument("--format", default="auto", help=f"its layout: {', '.join(LAYOUTS)}")
    parser.add_argument(
        "--labels", default="auto", help="auto, classes, probabilities, logits, centred or weights"
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
