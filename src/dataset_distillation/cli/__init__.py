"""The console programs: their arguments, exit codes, and errors of one line.

From its first line on, each listens to signals; so what they call is imported after that, inside functions.
"""

from __future__ import annotations

from dataset_distillation.run.interruption import program_ended_by_signals

__all__ = ["distill", "evaluate", "export_set", "import_set", "pretrain", "report", "status"]


def distill() -> None:
    """`distill`: distill a dataset; with -m a sweep."""
    with program_ended_by_signals():
        from dataset_distillation.cli import hydra_app

        hydra_app.distill()


def evaluate() -> None:
    """`distill-evaluate`: judge an artifact with held-out networks, or baselines alone; with -m a sweep."""
    with program_ended_by_signals():
        from dataset_distillation.cli import hydra_app

        hydra_app.evaluate()


def pretrain() -> None:
    """`distill-pretrain`: train the pool that `distill` with the same arguments draws from."""
    with program_ended_by_signals():
        from dataset_distillation.cli import pool

        pool.main()


def report() -> None:
    """`distill-report`: renew the pages of runs and multiruns, or make the paper's tables and figures."""
    with program_ended_by_signals():
        from dataset_distillation.cli import pages

        pages.print_all()


def status() -> None:
    """`distill-status`: show how far the jobs of a multirun are, and renew its tables and its page."""
    with program_ended_by_signals():
        from dataset_distillation.cli import progress

        progress.main()


def import_set() -> None:
    """`distill-import`: a set that another project has released, as an artifact."""
    with program_ended_by_signals():
        from dataset_distillation.cli import exchange

        exchange.import_set()


def export_set() -> None:
    """`distill-export`: an artifact as files that need none of our code."""
    with program_ended_by_signals():
        from dataset_distillation.cli import exchange

        exchange.export_set()
