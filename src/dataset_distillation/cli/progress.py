"""`distill-status`: shows how far the jobs of a multirun are, and renews its tables and its page."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dataset_distillation.cli.help import version_line
from dataset_distillation.cli.messages import Arguments, complain
from dataset_distillation.errors import UserError
from dataset_distillation.run.interruption import interruptible


def status_parser() -> Arguments:
    parser = Arguments(
        "distill-status",
        description="Show how far the jobs of a multirun are, and renew its tables and its page.",
    )
    parser.add_argument("sweep", type=Path, help="folder of a multirun")
    parser.add_argument("--watch", action="store_true", help="repeat until the multirun ends")
    parser.add_argument("--version", action="version", version=version_line())
    return parser


def main() -> None:
    try:
        arguments = status_parser().parse_args()
        from dataset_distillation.report import sweep_page, table

        with interruptible():
            while table.show_status(arguments.sweep) and arguments.watch:
                time.sleep(5)
                print("\033[2J\033[H", end="")
            table.sweep(arguments.sweep)
            sweep_page.write_sweep(arguments.sweep)
    except (UserError, OSError) as error:
        sys.exit(complain(error))
