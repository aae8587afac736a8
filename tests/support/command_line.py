"""The command line inside the test's process, since a process of its own imports torch for seconds."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from dataset_distillation import cli
from dataset_distillation.cli import hydra_app, job
from dataset_distillation.run.interruption import SIGNALS


class Ended(NamedTuple):
    """What a user is left with."""

    code: int
    out: str
    err: str


def _typed(
    program: str,
    entry: Callable[[], None],
    *arguments: str,
    folder: Path,
    keep_environment: bool = False,
    pages: bool = False,
) -> Ended:
    """What is typed in `folder`; what it does to the environment is undone, unless kept.

    pages: whether runs draw their page, which takes a third of a small run.
    """
    out, err = io.StringIO(), io.StringIO()
    environment = nullcontext() if keep_environment else mock.patch.dict(os.environ)
    typed = mock.patch.object(sys, "argv", [program, *arguments])
    code: object = 0
    with (
        environment,
        nullcontext() if pages else mock.patch.multiple(job, make_page=mock.DEFAULT),
        nullcontext() if pages else mock.patch.multiple(hydra_app, make_page=mock.DEFAULT),
        _as_in_a_new_process(),
        typed,
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            entry()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int)
    return Ended(code, out.getvalue(), err.getvalue())


distill = partial(_typed, "distill", cli.distill)
distill_evaluate = partial(_typed, "distill-evaluate", cli.evaluate)
distill_pretrain = partial(_typed, "distill-pretrain", cli.pretrain)
distill_import = partial(_typed, "distill-import", cli.import_set)
distill_export = partial(_typed, "distill-export", cli.export_set)
distill_report = partial(_typed, "distill-report", cli.report)
distill_status = partial(_typed, "distill-status", cli.status)


@contextmanager
def _as_in_a_new_process() -> Iterator[None]:
    """Without what an earlier call left behind, and leaving nothing: Hydra keeps global state."""
    root = logging.getLogger()
    handlers, level, threads = root.handlers[:], root.level, torch.get_num_threads()
    heard = {signum: signal.getsignal(signum) for signum in SIGNALS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        ConfigStore.instance().repo.get("experiment", {}).pop("artifact.yaml", None)  # distill-evaluate's
        GlobalHydra.instance().clear()
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:], root.level = handlers, level
        torch.set_num_threads(threads)
        for signum, listener in heard.items():
            signal.signal(signum, listener)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def only_run(folder: Path) -> Path:
    """The folder of the only run that was started in `folder`."""
    [run] = folder.glob("outputs/*/*")
    return run
