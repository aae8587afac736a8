"""`distill-report`: the pages of runs and multiruns, and the paper's tables and figures, from folders."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from dataset_distillation.cli.help import version_line
from dataset_distillation.cli.messages import Arguments, complain
from dataset_distillation.errors import FileError, NoFile, UserError
from dataset_distillation.run.folder import RUN_MARKS, holds, is_run
from dataset_distillation.run.interruption import interruptible

log = logging.getLogger(__name__)


def print_all() -> None:
    """Print the files that the arguments ask for, once they are written; exit with 1 if some are not."""
    failed: list[Path] = []
    try:
        for path in main(failed=failed):
            print(path)
    except (UserError, OSError) as error:
        sys.exit(complain(error))
    sys.exit(UserError.exit_code if failed else 0)


def report_parser() -> Arguments:
    parser = Arguments(
        prog="distill-report",
        description="Renew report.html of a run folder, or of a multirun's folder and its jobs. "
        "With --output: make the paper's tables and figures from all runs in the folders, beside the paper's "
        "numbers, later.md, our sets for ConvNet-3 beside those of later methods, and factors.md, what each "
        "choice gives.",
    )
    told = "folders of runs or multiruns; with --output also those above them"
    parser.add_argument("folders", nargs="+", type=Path, help=told)
    parser.add_argument("--output", type=Path, help="the folder for the paper's tables and figures")
    parser.add_argument("--version", action="version", version=version_line())
    return parser


def main(arguments: list[str] | None = None, failed: list[Path] | None = None) -> list[Path]:
    """Write the pages, or the tables and figures, that the arguments ask for; return the files.

    failed: gets the folders of jobs whose page cannot be made, which costs a line in the log.
    """
    options = report_parser().parse_args(arguments)
    # These imports follow the answer to --help, because they import torch.
    from dataset_distillation.report import paper
    from dataset_distillation.report.runs import below

    for folder in options.folders:
        if not folder.is_dir():
            raise NoFile(f"{folder}: no such folder")
    with interruptible():
        if options.output:
            runs = [run for folder in options.folders for run in below(folder)]
            return paper.write_all(runs, options.output)
        return [
            file for folder in options.folders for file in pages(folder, [] if failed is None else failed)
        ]


def pages(folder: Path, failed: list[Path]) -> list[Path]:
    """Write the page of a run, or the pages of a multirun and its jobs; return the files."""
    from dataset_distillation.report import page, sweep_page
    from dataset_distillation.report.runs import jobs

    if is_run(folder):
        return [page.write_run(folder)]
    try:
        started = jobs(folder)
    except FileError:
        raise
    except UserError as error:
        if holds(folder, RUN_MARKS):
            raise UserError(
                f"{folder}: a run that has not ended yet; its page is written at its end"
            ) from error
        hint = "use --output=FOLDER to make the paper's tables from all runs below it"
        raise UserError(f"{folder}: neither a run nor a multirun; {hint}") from error
    files = [sweep_page.write_sweep(folder)]
    for run in started:
        try:
            files += [page.write_run(run.path)] if is_run(run.path) else []
        except UserError as error:  # in one job; the others still have their pages
            log.error("%s", error)
            failed.append(run.path)
    return files
