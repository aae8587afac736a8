"""`distill-pretrain`: trains the pool of networks that `distill` with the same arguments draws from."""

from __future__ import annotations

import logging
import sys

import hydra

from dataset_distillation.cli.help import PRETRAIN, answer
from dataset_distillation.cli.messages import EXPECTED, complain
from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment import compose as experiment_config
from dataset_distillation.run.interruption import interruptible


def main() -> None:
    """Print the folder of the pool, whose missing networks are trained."""
    answer(lambda: PRETRAIN)
    experiment_config.register()
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s")
    try:
        with hydra.initialize_config_module("dataset_distillation.conf", version_base="1.3"):
            experiment = experiment_config.read(hydra.compose("config", sys.argv[1:]))
        if not experiment.init.members(experiment.evaluation.validation_networks):
            raise ConfigError("init: there is nothing to train; use init=pretrained or init=fixed_pretrained")
        from dataset_distillation.pipeline.prepare import prepare, pretrain

        with interruptible():
            report = pretrain(prepare(experiment), experiment)
        assert report is not None
        print(report.folder)
    except EXPECTED as error:
        sys.exit(complain(error))
