"""The console programs: their arguments, exit codes, and errors of one line."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import hydra

from dataset_distillation.cli.help import EVALUATE, PRETRAIN, answer, help_page, version_line
from dataset_distillation.cli.hydra_app import SweepGuard, distill_job, enter, evaluation_job
from dataset_distillation.cli.messages import EXPECTED, complain
from dataset_distillation.cli.report import main
from dataset_distillation.errors import ConfigError, UserError
from dataset_distillation.experiment import compose as experiment_config
from dataset_distillation.experiment import of_artifact
from dataset_distillation.experiment.tree import Evaluate
from dataset_distillation.run.interruption import INTERRUPTED

__all__ = ["SweepGuard", "distill", "evaluate", "pretrain", "report", "status"]


def distill() -> None:
    """`distill`: distill a dataset; with -m a sweep."""
    enter(distill_job, help_page, lambda _: experiment_config.register())


def evaluate() -> None:
    """`distill-evaluate`: judge an artifact with held-out networks, or baselines alone; with -m a sweep."""

    def register(arguments: list[str]) -> None:
        experiment_config.register(Evaluate)
        of_artifact.register(arguments)

    enter(evaluation_job, lambda: EVALUATE, register)


def status() -> None:
    """`distill-status`: show how far the jobs of a multirun are, and renew its tables and its page."""
    parser = argparse.ArgumentParser("distill-status", description=status.__doc__)
    parser.add_argument("sweep", type=Path, help="folder of a multirun")
    parser.add_argument("--watch", action="store_true", help="repeat until the multirun ends")
    parser.add_argument("--version", action="version", version=version_line())
    arguments = parser.parse_args()
    from dataset_distillation.report import page, table

    try:
        while table.show_status(arguments.sweep) and arguments.watch:
            time.sleep(5)
            print("\033[2J\033[H", end="")
        table.sweep(arguments.sweep)
        page.write_sweep(arguments.sweep)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except UserError as error:
        sys.exit(complain(error))


def pretrain() -> None:
    """Train the pool of networks that `distill` with the same arguments draws from."""
    answer(lambda: PRETRAIN)
    experiment_config.register()
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s")
    try:
        with hydra.initialize_config_module("dataset_distillation.conf", version_base="1.3"):
            experiment = experiment_config.read(hydra.compose("config", sys.argv[1:]))
        if not experiment.init.members(experiment.evaluation.validation_networks):
            raise ConfigError("init: there is nothing to train; use init=pretrained or init=fixed_pretrained")
        from dataset_distillation.pipeline.prepare import prepare, pretrain

        report = pretrain(prepare(experiment), experiment)
        assert report is not None
        print(report.folder)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except EXPECTED as error:
        sys.exit(complain(error))


def report() -> None:
    """`distill-report`: renew the pages of runs and multiruns, or make the paper's tables and figures."""

    try:
        for path in main():
            print(path)
    except UserError as error:
        print(f"distill-report: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
