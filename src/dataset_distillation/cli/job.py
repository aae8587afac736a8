"""One job: a run in the folder that Hydra made for it."""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dataset_distillation.cli.messages import complain
from dataset_distillation.datasets.data import title
from dataset_distillation.errors import ConfigError, UserError, program
from dataset_distillation.experiment import compose as experiment_config
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.compose import GROUP_NAMES
from dataset_distillation.experiment.tree import Evaluate
from dataset_distillation.files import write
from dataset_distillation.pipeline.resume import check_folder, finished
from dataset_distillation.run.folder import CONFIG, STATUS
from dataset_distillation.run.heartbeat import process_of, published
from dataset_distillation.run.interruption import (
    INTERRUPTED,
    Interrupted,
    ended_by,
    exit_code,
    interruptible,
    nothing_to_keep,
)
from dataset_distillation.run.records import Result, Status
from dataset_distillation.run.run import Run, program_of

log = logging.getLogger("distill")

#: The exit code of a job that submitit has put into SLURM's queue again.
QUEUED_AGAIN = -1


def run_job(config: DictConfig) -> float | None:
    """Run one job in the folder that Hydra made; return the validation metric, which sweepers optimize."""
    alone = HydraConfig.get().mode == RunMode.RUN
    with nothing_to_keep() if alone else contextlib.nullcontext():
        from dataset_distillation.pipeline.distill import assist  # and with it torch, which takes seconds
        from dataset_distillation.run import processes

    if signal := ended_by():  # an earlier job in this process, a worker: the multirun ends
        sys.exit(exit_code(signal))
    runtime = HydraConfig.get().runtime
    # Before anything is written there.
    check_folder(Path(runtime.output_dir), config, chosen(runtime.choices))
    run = _run(config)
    if processes.rank(config.trainer.devices):
        with interruptible():
            assist(experiment_config.read(config), run)
        return None
    if process := process_of(run.folder / STATUS, Status):
        busy = UserError(f"{run.folder}: {process} runs there; wait for it, or use another folder")
        if alone:  # Hydra prints a line of its own before an error that it sees
            sys.exit(complain(busy))
        raise busy
    if result := finished(run.folder, run.config):
        (run.folder / STATUS).unlink(missing_ok=True)  # of one that was killed while it wrote its page
        log.info("the run is finished already: there is nothing to do")
        return _told(result, run)
    # Up to its last line: a multirun that is interrupted waits for the jobs that run.
    with published(run.folder, run.progress, run.overrides):
        return _told(_result(config, run), run)


def _result(config: DictConfig, run: Run) -> Result:
    """Run the job; record how it ended, however that was."""
    from dataset_distillation.pipeline.distill import distill
    from dataset_distillation.pipeline.evaluate import evaluate
    from dataset_distillation.run import processes

    try:
        with interruptible():
            choices = " ".join(f"{group}={choice}" for group, choice in run.choices.items())
            text = f"# {choices}\n{OmegaConf.to_yaml(config, resolve=True)}"
            write(run.folder / CONFIG, text.encode())
            run.keep_changes()
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                processes.check(config.trainer.devices)
            experiment = experiment_config.read(config)
            return evaluate(experiment, run) if isinstance(experiment, Evaluate) else distill(experiment, run)
    except (Interrupted, KeyboardInterrupt) as end:
        _interrupted(run, end, getattr(end, "exit_code", INTERRUPTED))
    except SystemExit as end:
        if end.code == QUEUED_AGAIN:
            _interrupted(run, end, QUEUED_AGAIN)
        _failed(run, UserError(f"the run was ended by sys.exit({end.code!r}) in your own code"))
    except Exception as error:
        _failed(run, error)


def _told(result: Result, run: Run) -> float | None:
    """Show the result and make its page; return the validation metric, or exit if a signal ended the run."""
    from dataset_distillation.report import page
    from dataset_distillation.report.methods import show_methods

    if result.evaluation:
        show_methods(result, title(run.config["dataset"]))
    make_page(page.write_run, run.folder)
    if result.signal:
        log.error("interrupted (%s); to resume: %s", result.signal, _resuming(run.folder))
        sys.exit(exit_code(result.signal))  # this ends the multirun, too
    log.info("%s: %s", result.status, run.folder)
    return result.validation


def _interrupted(run: Run, end: BaseException, code: int) -> NoReturn:
    """Record that a signal has ended the run, and exit with `code`, which ends a multirun, too."""
    with contextlib.suppress(UserError):
        run.record(Result(status="interrupted"))
    log.error("interrupted (%s); to resume: %s", end, _resuming(run.folder))
    sys.exit(code)


def _failed(run: Run, error: Exception) -> NoReturn:
    """Record the error and exit; in a multirun, raise it, so that the other jobs run."""
    alone = HydraConfig.get().mode == RunMode.RUN
    refused = isinstance(error, ConfigError) and run.progress.step == 0
    if not (alone and refused):  # the folder of a run that was refused is removed
        with contextlib.suppress(UserError):  # on a full disk
            run.record_failure(error)
    expected = isinstance(error, (UserError, OSError))
    log.error("%s" if expected else "the run failed: %s", error, exc_info=None if expected else error)
    if alone:
        sys.exit(error.exit_code if isinstance(error, UserError) else 1)
    raise error


def _resuming(folder: Path) -> str:
    """The command that resumes the run in `folder`."""
    return shlex.join([program(), f"resume={folder}"])


def _run(config: DictConfig) -> Run:
    hydra_config = HydraConfig.get()
    return Run(
        folder=Path(hydra_config.runtime.output_dir),
        config=experiment_config.resolved(config),
        choices=chosen(hydra_config.runtime.choices),
        overrides=list(hydra_config.overrides.task),
        command=_command(hydra_config, program_of(config)),
    )


def _command(hydra_config: HydraConf, program: str) -> str:
    """The command that repeats this run alone; the workers of a launcher have another command line."""
    overrides = hydra_config.overrides
    by_itself = hydra_config.mode == RunMode.MULTIRUN and "hydra.mode=MULTIRUN" not in overrides.hydra
    # An experiment that is a multirun, such as figure4, would start the multirun again.
    return shlex.join([program, *overrides.task, *(["hydra.mode=RUN"] if by_itself else [])])


def chosen(by_group: Any) -> dict[str, str]:
    """Return the choice of each group; Hydra would also accept a list of choices, `dataset=[mnist,usps]`."""
    for group in experiment_config.GROUPS:
        if not isinstance(by_group.get(group), str):
            raise ConfigError(f"{group}: must be one of {', '.join(choices(group))}")
    nested = [group for group in by_group if "@" in group]  # dataset@init.source
    return {group: choice for group in (*GROUP_NAMES, *nested) if (choice := by_group.get(group))}


def make_page(write: Callable[[Path], Path], folder: Path) -> None:
    try:
        write(folder)
    except UserError as error:
        log.error("no page was made: %s", error)
    except Exception:  # an error of the page must not spoil the run, whose result is already written
        log.exception("no page was made; once the cause is repaired, use: distill-report %s", folder)
