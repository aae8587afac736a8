"""`distill-pretrain`: trains the pool of networks that `distill` with the same arguments draws from."""

from __future__ import annotations

import argparse
import logging
import sys

import hydra
from omegaconf import OmegaConf

from dataset_distillation.cli import arguments
from dataset_distillation.cli.help import PRETRAIN, answer
from dataset_distillation.cli.messages import EXPECTED, complain
from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment import compose as experiment_config
from dataset_distillation.run.interruption import interruptible


def _arguments(typed: list[str]) -> argparse.Namespace:
    if {"-m", "--multirun"} & {*typed}:
        raise ConfigError("-m: one command trains one pool; leave it out, and type a command for each pool")
    arguments.check(typed)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--cfg", "-c", choices=["job"])
    parser.add_argument("overrides", nargs="*")
    try:
        options, unknown = parser.parse_known_intermixed_args(typed)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from error
    if unknown:
        raise ConfigError(f"{unknown[0]}: distill-pretrain has no such option; it has --cfg job")
    return options


def main() -> None:
    """Print the folder of the pool, whose missing networks are trained."""
    answer(lambda: PRETRAIN)
    experiment_config.register()
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s")
    try:
        with hydra.initialize_config_module("dataset_distillation.conf", version_base="1.3"):
            options = _arguments(sys.argv[1:])
            config = hydra.compose("config", options.overrides)
            if options.cfg:
                print(OmegaConf.to_yaml(config), end="")
                return
            experiment = experiment_config.read(config)
        if not experiment.init.members(experiment.evaluation.validation_networks):
            raise ConfigError("init: there is nothing to train; use init=pretrained or init=fixed_pretrained")
        from dataset_distillation.pipeline.prepare import prepare, pretrain

        with interruptible():
            report = pretrain(prepare(experiment), experiment)
        assert report is not None
        print(report.folder)
    except EXPECTED as error:
        sys.exit(complain(error))
