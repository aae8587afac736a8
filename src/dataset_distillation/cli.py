"""Console entry points: compose, check, call. Nothing heavy is imported before a run starts."""

from __future__ import annotations

import argparse
import contextlib
import copy
import difflib
import io
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from dataset_distillation import config as experiment_config
from dataset_distillation import resume
from dataset_distillation.errors import ConfigError, UserError, program, refuse
from dataset_distillation.evaluation import made_with
from dataset_distillation.help import EVALUATE, GROUPS, PRETRAIN, choices, help_page
from dataset_distillation.interruption import INTERRUPTED, TRY_AGAIN, Interrupted, exit_code, interruptible
from dataset_distillation.sweeps import Multirun

#: What composing a config raises for what a user typed; Hydra has ValueError for `dataset=null`.
EXPECTED = (UserError, HydraException, OmegaConfBaseException, OSError, ValueError)


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
            _choices(config.hydra.runtime.choices)
            task = copy.deepcopy(config)  # as the job will get it
            with open_dict(task):
                del task["hydra"]
            experiment_config.read(task)
            resume.check(Path(config.hydra.run.dir), _resolved(task))
        except (UserError, OmegaConfBaseException) as error:
            sys.exit(_complain(error))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            sweep = Multirun(config)
            if Check.resuming:
                sweep.same_as_before()
            sweep.heartbeat.start()
        except (UserError, OSError) as error:
            sys.exit(_complain(error))
        except HydraException:  # of what is swept; the sweeper says so, too
            return
        Check.sweep = sweep


@hydra.main(version_base="1.3", config_path="pkg://dataset_distillation.conf", config_name="config")
def _job(config: DictConfig) -> Any:
    # By name, so that cluster launchers can pickle this function.
    from dataset_distillation.cli import run_job

    return run_job(config)


@hydra.main(version_base="1.3", config_path="pkg://dataset_distillation.conf", config_name="evaluate")
def _evaluation(config: DictConfig) -> Any:
    from dataset_distillation.cli import run_job

    return run_job(config)


def run_job(config: DictConfig) -> float | None:
    """One run, in the folder Hydra made for it; returns the validation metric, which sweepers optimise."""
    from dataset_distillation import pipeline, processes
    from dataset_distillation.evaluation import evaluate
    from dataset_distillation.files import write
    from dataset_distillation.provenance import Run
    from dataset_distillation.report import page
    from dataset_distillation.report.methods import show_methods
    from dataset_distillation.status import going_on, published

    log = logging.getLogger("distill")
    run = Run(**_asked(config))
    if processes.rank(config.trainer.devices):
        with interruptible():
            pipeline.assist(experiment_config.read(config), run)
        return None
    resume.check(run.folder, run.config)  # before anything is written there
    if process := going_on(run.folder):
        raise UserError(f"{run.folder}: {process} runs there; wait for it, or take another folder")
    try:
        if result := resume.finished(run.folder):
            log.info("finished already: there is nothing to do")
        else:
            write(run.folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True).encode())
            run.keep_changes()
            with interruptible(), published(run.folder, run.progress, run.overrides):
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    processes.check(config.trainer.devices)
                experiment = experiment_config.read(config)
                if isinstance(experiment, experiment_config.Evaluate):
                    result = evaluate.run(experiment, run)
                else:
                    result = pipeline.run(experiment, run)
    except (Interrupted, KeyboardInterrupt, SystemExit) as end:  # the last: submitit has its own way to leave
        with contextlib.suppress(UserError):
            run.record({"status": "interrupted"})
        log.error("interrupted (%s); to go on: %s resume=%s", end, program(), run.folder)
        sys.exit(end.code if isinstance(end, SystemExit) else getattr(end, "exit_code", INTERRUPTED))
    except Exception as error:
        with contextlib.suppress(UserError):  # on a full disk
            run.record_failure(error)
        told = isinstance(error, (UserError, OSError))
        log.error("%s" if told else "the run failed: %s", error, exc_info=not told)
        if HydraConfig.get().mode == RunMode.RUN:
            sys.exit(error.exit_code if isinstance(error, UserError) else 1)
        raise
    if result["evaluation"]:
        show_methods(result, run.choices["dataset"])
    _make_page(page.write_run, run.folder)
    if result["status"] == "interrupted":
        log.error("interrupted (%s); to go on: %s resume=%s", result["signal"], program(), run.folder)
        sys.exit(exit_code(result["signal"]))  # and with it the multirun: nobody wants to interrupt each job
    log.info("%s: %s", result["status"], run.folder)
    validation: float | None = result.get(f"validation_{result['metric']}")
    return validation


def _asked(config: DictConfig) -> dict[str, Any]:
    """The fields of `Run`."""
    hydra_config = HydraConfig.get()
    return {
        "folder": Path(hydra_config.runtime.output_dir),
        "config": _resolved(config),
        "choices": _choices(hydra_config.runtime.choices),
        "overrides": list(hydra_config.overrides.task),
        "command": _command(hydra_config, "distill-evaluate" if "artifact" in config else "distill"),
    }


def _command(hydra_config: HydraConf, program: str) -> str:
    """What repeats this run alone, typed in a shell; workers of a launcher have another command line."""
    asked = hydra_config.overrides
    by_itself = hydra_config.mode == RunMode.MULTIRUN and "hydra.mode=MULTIRUN" not in asked.hydra
    # An experiment that is a multirun would be one again.
    return shlex.join([program, *asked.task, *(["hydra.mode=RUN"] if by_itself else [])])


def _resolved(config: DictConfig) -> dict[str, Any]:
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    return dict(resolved)


def _choices(chosen: Any) -> dict[str, str]:
    """The chosen file of each group; Hydra would also take a list of them, `dataset=[mnist,usps]`."""
    for group in experiment_config.GROUPS:
        if not isinstance(chosen.get(group), str):
            raise ConfigError(f"{group}: takes one of {', '.join(choices(group))}")
    nested = [group for group in chosen if "@" in group]  # dataset@init.source
    return {group: choice for group in (*GROUPS, *nested) if (choice := chosen.get(group))}


def distill() -> None:
    """`distill`: distil a data set; with -m a sweep."""
    _enter(_job, help_page, lambda _: experiment_config.register())


def evaluate() -> None:
    """`distill-evaluate`: held-out networks on an artifact, or the baselines alone; with -m a sweep."""

    def register(arguments: list[str]) -> None:
        experiment_config.register(experiment_config.Evaluate)
        made_with.register(arguments)

    _enter(_evaluation, lambda: EVALUATE, register)


def _enter(
    job: Callable[[], Any], told: Callable[[], str], register: Callable[[list[str]], None]
) -> NoReturn:
    """Answer --help by what is `told`; else `register` what the arguments need, and hand over to Hydra."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(told())
        sys.exit()
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
        sys.exit(_complain(error))
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
        return _complain(error)
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
    _make_page(page.write_sweep, sweep.folder)
    return code or int(not finished)


def _make_page(write: Callable[[Path], Path], folder: Path) -> None:
    try:
        write(folder)
    except Exception:  # what has run is finished and its result written, whatever is wrong with its page
        log = logging.getLogger("distill")
        log.exception("no page was made; when that is repaired: distill-report %s", folder)


def status() -> None:
    """`distill-status`: how far the jobs of a multirun are; makes its tables and its page anew."""
    parser = argparse.ArgumentParser("distill-status", description=status.__doc__)
    parser.add_argument("sweep", type=Path, help="folder of a multirun")
    parser.add_argument("--watch", action="store_true", help="show it again every few seconds, to the end")
    asked = parser.parse_args()
    from dataset_distillation.report import page, table

    try:
        while table.show_status(asked.sweep) and asked.watch:
            time.sleep(5)
            print("\033[2J\033[H", end="")
        table.sweep(asked.sweep)
        page.write_sweep(asked.sweep)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except UserError as error:
        sys.exit(_complain(error))


def pretrain() -> None:
    """Train the pool of networks that `distill` with the same arguments draws from."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(PRETRAIN)
        return
    experiment_config.register()
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s")
    try:
        with hydra.initialize_config_module("dataset_distillation.conf", version_base="1.3"):
            experiment = experiment_config.read(hydra.compose("config", sys.argv[1:]))
        from dataset_distillation import pipeline

        report = pipeline.pretrain(pipeline.prepare(experiment))
        if report is None:
            raise ConfigError(
                "init: there is nothing to train; take init=pretrained or init=fixed_pretrained"
            )
        print(report["folder"])
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except EXPECTED as error:
        sys.exit(_complain(error))


def _resumed(arguments: list[str]) -> list[str]:
    """`resume=<run folder>` stands for the command that began the run there."""
    folders = [argument for argument in arguments if argument.startswith("resume=")]
    if not folders:
        return arguments
    return resume.command(Path(folders[0].removeprefix("resume=")), [a for a in arguments if a != folders[0]])


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


def _complain(error: BaseException) -> int:
    print(f"{program()}: {_one_line(error)}", file=sys.stderr)
    if isinstance(error, UserError):
        return error.exit_code
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return UserError.exit_code
    return ConfigError.exit_code


def _one_line(error: BaseException) -> str:
    """Hydra's and OmegaConf's errors take several lines; the user reads one."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        extra = {"hydra/launcher": "cluster", "hydra/sweeper": "search"}.get(group)
        more = f"; for others, pip install 'dataset-distillation[{extra}]'" if extra else ""
        return f"{group}={choice}: must be one of {', '.join(sorted(error.options))}{more}"
    cause = error.__cause__
    if not isinstance(cause, OmegaConfBaseException) or not cause.full_key:
        return " ".join(str(error).split())
    if cause.full_key == "init.source":
        return "init.source: is chosen as a group; for example dataset@init.source=usps"
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        return f"{cause.full_key}: no such key{_hint(cause)}"
    return f"{cause.full_key}: {str(cause).splitlines()[0]}"


def _hint(cause: OmegaConfBaseException) -> str:
    """The key that was meant, or else the keys there are."""
    keys = [str(key) for key in cause.parent_node] if isinstance(cause.parent_node, DictConfig) else []
    if close := difflib.get_close_matches(str(cause.key), keys, 1):
        return f"; did you mean {close[0]}?"
    return f"; the keys are {', '.join(keys)}" if keys else ""


def report() -> None:
    """`distill-report`: the pages of runs and multiruns again, and the paper's tables and figures."""
    from dataset_distillation.report import command

    try:
        for path in command.main():
            print(path)
    except UserError as error:
        print(f"distill-report: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
