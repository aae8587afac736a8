"""`distill-report`: the pages of runs and multiruns, and the paper's tables and figures, from folders."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from dataset_distillation.cli.help import version_line
from dataset_distillation.errors import UserError
from dataset_distillation.run.folder import is_run

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> list[Path]:
    """Write what was asked for; returns the files."""
    parser = argparse.ArgumentParser(
        prog="distill-report",
        description="Make report.html of a run folder, or of a multirun's folder and its jobs, again. "
        "With --output: the paper's tables and figures from all runs in the folders, beside its own numbers.",
    )
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, multirun folders, or any above")
    parser.add_argument("--output", type=Path, help="where the paper's tables and figures are written")
    parser.add_argument("--version", action="version", version=version_line())
    asked = parser.parse_args(arguments)
    # Not before --help has been answered: they import torch.
    from dataset_distillation.report import paper
    from dataset_distillation.report.runs import below

    for folder in asked.folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    if asked.output:
        return paper.write_all([run for folder in asked.folders for run in below(folder)], asked.output)
    return [file for folder in asked.folders for file in pages(folder)]


def pages(folder: Path) -> list[Path]:
    """The page of a run; of a multirun, its page and those of its jobs."""
    from dataset_distillation.report import page
    from dataset_distillation.report.runs import jobs

    if is_run(folder):
        return [page.write_run(folder)]
    try:
        started = jobs(folder)
    except UserError as error:
        hint = "--output=FOLDER uses all runs below for the paper's tables"
        raise UserError(f"{folder}: neither a run nor a multirun; {hint}") from error
    made = [page.write_sweep(folder)]
    for run in started:
        try:
            made += [page.write_run(run.path)] if is_run(run.path) else []
        except UserError as error:  # of one job; the others have their pages
            log.error("%s", error)
    return made
