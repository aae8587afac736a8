"""Console entry points: compose, check, call. They import nothing heavy before a run starts."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from dataset_distillation.cli import arguments
from dataset_distillation.cli.help import answer, evaluate_page, first_page, help_page
from dataset_distillation.cli.job import chosen, make_page, run_job
from dataset_distillation.cli.messages import EXPECTED, complain, of_hydra
from dataset_distillation.cli.resume import resume_command
from dataset_distillation.errors import ConfigError, UserError, program, refuse
from dataset_distillation.experiment import compose as experiment_config
from dataset_distillation.experiment import of_artifact
from dataset_distillation.experiment.tree import Evaluate
from dataset_distillation.pipeline.resume import check_folder
from dataset_distillation.run.folder import (
    RUN_MARKS,
    SWEEP,
    WORK_MARKS,
    check_own,
    folder_of,
    holds,
    missing,
    remove,
)
from dataset_distillation.run.interruption import INTERRUPTED, TRY_AGAIN, Interrupted, interruptible
from dataset_distillation.sweep.multirun import Multirun
from dataset_distillation.sweep.overrides import quoted


class SweepGuard(Callback):
    """Checks a run before Hydra makes its folder, and announces a multirun."""

    sweep: Multirun | None = None
    resuming = False
    made: ClassVar[list[Path]] = []  # the run folder and those above it, as far as they did not exist

    @classmethod
    def forget(cls) -> None:
        """Reset what an earlier call in this process has set."""
        cls.sweep, cls.resuming, cls.made = None, False, []

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with _checking():
            if SweepGuard.resuming:
                raise ConfigError("sweep.resume: resumes a multirun; add -m")
            folder = folder_of("hydra.run.dir", config.hydra.run.dir)
            check_own("hydra.run.dir", folder, RUN_MARKS, config.hydra.output_subdir)
            check_job(config, folder)
            SweepGuard.made = missing(folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with _checking():
            sweep = Multirun(config)
            sweep.give(config)
            if SweepGuard.resuming:
                sweep.same_as_before()
            else:
                _check_jobs(config, sweep)
            sweep.start()
            SweepGuard.sweep = sweep


@contextlib.contextmanager
def _checking() -> Iterator[None]:
    """End the program at any error: Hydra turns one in a callback into a warning, and goes on."""
    try:
        yield
    except EXPECTED as error:
        sys.exit(complain(error))
    except Exception:
        traceback.print_exc()
        sys.exit(UserError.exit_code)


def check_job(config: DictConfig, folder: Path) -> None:
    """Raise an error if the run that `config` describes would be refused in `folder`."""
    choices = chosen(config.hydra.runtime.choices)
    task = experiment_config.task_of(config)
    experiment_config.read(task)
    check_folder(folder, task, choices)


def _check_jobs(config: DictConfig, sweep: Multirun) -> None:
    """Raise an error if one of the jobs would be refused, before another has run for hours."""
    if sweep.expansion is None:
        return
    loader = GlobalHydra.instance().config_loader()
    for number in sweep.expansion.typical():
        job = loader.load_sweep_config(config, sweep.expansion.jobs[number])
        check_job(job, sweep.folder / str(number))


@hydra.main(version_base="1.3", config_path="pkg://dataset_distillation.conf", config_name="config")
def distill_job(config: DictConfig) -> Any:
    return run_job(config)  # it is in another module, so that cluster launchers can pickle this function


@hydra.main(version_base="1.3", config_path="pkg://dataset_distillation.conf", config_name="evaluate")
def evaluation_job(config: DictConfig) -> Any:
    return run_job(config)


def distill() -> None:
    if not sys.argv[1:]:
        print(first_page())
        sys.exit()
    enter(distill_job, help_page, lambda _: experiment_config.register())


def evaluate() -> None:
    def register(typed: list[str]) -> None:
        experiment_config.register(Evaluate)
        of_artifact.register(typed)

    enter(evaluation_job, evaluate_page, register)


def enter(job: Callable[[], Any], page: Callable[[], str], register: Callable[[list[str]], None]) -> NoReturn:
    """Answer --help with `page`, or `register` the types that the arguments need and call Hydra."""
    answer(page)
    SweepGuard.forget()
    _prepare(register)
    code: int | str | None = 1
    with interruptible():
        try:
            code = _hydra(job)
        except Interrupted as end:
            if SweepGuard.sweep is None:
                raise
            print(f"{program()}: interrupted ({end})", file=sys.stderr)
            code = end.exit_code
        finally:
            if SweepGuard.sweep:
                code = _end_sweep(SweepGuard.sweep, code)
            elif code == ConfigError.exit_code:
                _withdraw(SweepGuard.made)
    sys.exit(code)


def _prepare(register: Callable[[list[str]], None]) -> None:
    """Make the arguments readable for Hydra, and register the types that they need."""
    try:
        arguments.check(sys.argv[1:])
        sys.argv[1:] = _resumed(sys.argv[1:])
        register(sys.argv[1:])
    except EXPECTED as error:
        sys.exit(complain(error))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets exceptions through, so that `complain` prints one line
    logging.raiseExceptions = False  # on a full disk, logging would print a traceback per line
    sys.argv[1:] = arguments.flags_first(sys.argv[1:])


def _hydra(job: Callable[[], Any]) -> int | str | None:
    """Call Hydra; return the exit code."""
    try:
        _resume_sweep()
        if any(argument.startswith("query=") for argument in sys.argv):
            _complete(job)
        else:
            job()
    except SystemExit as end:
        return end.code
    except Exception as error:
        if SweepGuard.sweep and SweepGuard.sweep.started():
            return 1  # the job has logged its error
        if told := error if isinstance(error, EXPECTED) else of_hydra(error):
            return complain(told)
        raise
    return 0


def _end_sweep(sweep: Multirun, code: int | str | None) -> int | str | None:
    """Write the table over all jobs, however the multirun ended; if no job started, remove its files."""
    if code != 0 and not sweep.started():
        sweep.withdraw()
        return code
    from dataset_distillation.report import sweep_page, table

    interrupted = code in (INTERRUPTED, TRY_AGAIN)
    if not interrupted:
        with contextlib.suppress(Interrupted):
            sweep.wait()
    sweep.end(interrupted)
    finished = table.show_sweep(sweep.folder)
    make_page(sweep_page.write_sweep, sweep.folder)
    if interrupted:
        print(f"{program()}: {sweep.what_next()}", file=sys.stderr)
    return code or int(not finished)


def _withdraw(made: list[Path]) -> None:
    """Remove the folder of a run that was refused once its data and its network were known.

    Another process may have begun there meanwhile, in which case this one was refused for that.
    """
    if made and not holds(made[0], WORK_MARKS):
        remove(made)


def _resumed(typed: list[str]) -> list[str]:
    """Replace `resume=<run folder>` by the command that started the run there."""
    folders = [argument for argument in typed if argument.startswith("resume=")]
    if not folders:
        return typed
    folder = folder_of("resume", folders[0].removeprefix("resume="))
    return resume_command(folder, [a for a in typed if a != folders[0]])


def _complete(job: Callable[[], Any]) -> None:
    """Tab completion without `schema/`, which holds types, and `wandb/`: nobody chooses these."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        job()
    print(" ".join(word for word in output.getvalue().split() if not word.startswith(("schema", "wandb"))))


def _resume_sweep() -> None:
    """Replace `sweep.resume=<folder>`, which is not a key of an experiment, by the folder of the multirun."""
    for i, argument in enumerate(sys.argv):
        key, _, folder = argument.partition("=")
        if key == "sweep.resume":
            if other := [each for each in sys.argv if each.startswith("hydra.sweep.dir=")]:
                raise refuse(key, folder, "a multirun goes on in its own folder", f"leave out {other[0]}")
            if not (folder_of(key, folder) / SWEEP).is_file():
                raise refuse(key, folder, "not the folder of a multirun (it has no sweep.json)")
            sys.argv[i], SweepGuard.resuming = f"hydra.sweep.dir={quoted(folder)}", True
