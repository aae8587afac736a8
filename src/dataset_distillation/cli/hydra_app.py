"""Console entry points: compose, check, call. Nothing heavy is imported before a run starts."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from dataset_distillation.cli.help import answer
from dataset_distillation.cli.job import chosen, make_page, run_job
from dataset_distillation.cli.messages import EXPECTED, complain
from dataset_distillation.cli.resume import resume_command
from dataset_distillation.errors import ConfigError, UserError, program, refuse
from dataset_distillation.experiment import compose as experiment_config
from dataset_distillation.pipeline.resume import check_folder
from dataset_distillation.run.interruption import INTERRUPTED, TRY_AGAIN, Interrupted, interruptible
from dataset_distillation.sweep.multirun import Multirun


class Check(Callback):
    """Checks a run before Hydra makes its folder, and tells of a multirun."""

    sweep: Multirun | None = None
    resuming = False

    @classmethod
    def forget(cls) -> None:
        """What an earlier call in this process left."""
        cls.sweep, cls.resuming = None, False

    # Hydra turns an exception of a callback into a warning, so these leave by sys.exit.
    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        try:
            if Check.resuming:
                raise ConfigError("sweep.resume: goes on with a multirun; add -m")
            chosen(config.hydra.runtime.choices)
            task = copy.deepcopy(config)  # as the job will get it
            with open_dict(task):
                del task["hydra"]
            experiment_config.read(task)
            check_folder(Path(config.hydra.run.dir), task)
        except (UserError, OmegaConfBaseException) as error:
            sys.exit(complain(error))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            sweep = Multirun(config)
            if Check.resuming:
                sweep.same_as_before()
            sweep.heartbeat.start()
        except (UserError, OSError) as error:
            sys.exit(complain(error))
        except HydraException:  # of what is swept; the sweeper says so, too
            return
        Check.sweep = sweep


@hydra.main(version_base="1.3", config_path="pkg://dataset_distillation.conf", config_name="config")
def distill_job(config: DictConfig) -> Any:
    return run_job(config)  # of another module, so that cluster launchers can pickle this function


@hydra.main(version_base="1.3", config_path="pkg://dataset_distillation.conf", config_name="evaluate")
def evaluation_job(config: DictConfig) -> Any:
    return run_job(config)


def enter(job: Callable[[], Any], page: Callable[[], str], register: Callable[[list[str]], None]) -> NoReturn:
    """Answer --help by `page`; else `register` what the arguments need, and hand over to Hydra."""
    answer(page)
    Check.forget()
    code: int | str | None = 1
    try:
        with interruptible():  # from the start: importing takes seconds
            _prepare(register)
            code = _hydra(job)
    except Interrupted as end:
        print(f"{program()}: interrupted ({end})", file=sys.stderr)
        code = end.exit_code
    finally:
        if Check.sweep:
            code = _end_sweep(Check.sweep, code)
    sys.exit(code)


def _prepare(register: Callable[[list[str]], None]) -> None:
    """Make the arguments what Hydra takes, and known to it what they need."""
    try:
        sys.argv[1:] = _resumed(sys.argv[1:])
        register(sys.argv[1:])
    except EXPECTED as error:
        sys.exit(complain(error))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come to us, to be told in one line
    logging.raiseExceptions = False  # where the disk is full, the log need not say so line by line
    # Hydra takes -m only before or behind all overrides.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: argument not in ("-m", "--multirun"))


def _hydra(job: Callable[[], Any]) -> int | str | None:
    """Hand over to Hydra; returns the exit code."""
    try:
        _resume_sweep()
        if any(argument.startswith("query=") for argument in sys.argv):
            _complete(job)
        else:
            job()
    except SystemExit as end:
        return end.code
    except Exception as error:
        if Check.sweep and Check.sweep.started():
            return 1  # a job has logged what happened to it
        if not isinstance(error, EXPECTED):
            raise
        return complain(error)
    return 0


def _end_sweep(sweep: Multirun, code: int | str | None) -> int | str | None:
    """The table over all jobs, whatever ended the multirun; no trace of one whose jobs never began."""
    if not sweep.started():
        sweep.withdraw()
        return code
    from dataset_distillation.report import page, table

    interrupted = code in (INTERRUPTED, TRY_AGAIN)
    if not interrupted:
        with contextlib.suppress(Interrupted), interruptible():
            sweep.wait()
    sweep.end(interrupted)
    finished = table.show_sweep(sweep.folder)
    make_page(page.write_sweep, sweep.folder)
    return code or int(not finished)


def _resumed(arguments: list[str]) -> list[str]:
    """`resume=<run folder>` stands for the command that began the run there."""
    folders = [argument for argument in arguments if argument.startswith("resume=")]
    if not folders:
        return arguments
    return resume_command(Path(folders[0].removeprefix("resume=")), [a for a in arguments if a != folders[0]])


def _complete(job: Callable[[], Any]) -> None:
    """Tab completion without `schema/`, the types, and `wandb/`, which are nothing to choose from."""
    offered = io.StringIO()
    with contextlib.redirect_stdout(offered):
        job()
    print(" ".join(word for word in offered.getvalue().split() if not word.startswith(("schema", "wandb"))))


def _resume_sweep() -> None:
    """`sweep.resume=<folder>`, no key of an experiment, says where the multirun writes, and has written."""
    for i, argument in enumerate(sys.argv):
        key, _, folder = argument.partition("=")
        if key == "sweep.resume":
            if not (Path(folder) / "sweep.json").is_file():
                raise refuse(key, folder, "no folder of a multirun (no sweep.json)")
            quoted = folder.replace("\\", "\\\\").replace("'", "\\'")
            sys.argv[i], Check.resuming = f"hydra.sweep.dir='{quoted}'", True
