"""Console entry points: compose, check, call. Nothing heavy is imported before a run starts."""

from __future__ import annotations

import contextlib
import copy
import difflib
import io
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from dataset_distillation import config as experiment_config
from dataset_distillation.errors import ConfigError, UserError
from dataset_distillation.help import GROUPS, choices, help_page

#: What composing a config raises for what a user typed; Hydra has ValueError for `dataset=null`.
EXPECTED = (UserError, HydraException, OmegaConfBaseException, OSError, ValueError)
INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended


class Check(Callback):
    """Checks a run before Hydra makes its folder, and notes where a multirun writes."""

    sweep: Path | None = None
    began = 0.0

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        # Hydra turns an exception of a callback into a warning, so this leaves by sys.exit.
        try:
            _choices(config.hydra.runtime.choices)
            task = copy.deepcopy(config)
            with open_dict(task):
                del task["hydra"]
            experiment_config.read(task)
        except (UserError, OmegaConfBaseException) as error:
            sys.exit(_complain(error))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Check.sweep, Check.began = Path(config.hydra.sweep.dir), time.time()


@hydra.main(version_base="1.3", config_path="pkg://dataset_distillation.conf", config_name="config")
def _job(config: DictConfig) -> Any:
    # By name, so that cluster launchers can pickle this function.
    from dataset_distillation.cli import run_job

    return run_job(config)


def run_job(config: DictConfig) -> float | None:
    """One run, in the folder Hydra made for it; returns the validation accuracy for sweepers to maximise."""
    from dataset_distillation import pipeline
    from dataset_distillation.files import write
    from dataset_distillation.provenance import Run
    from dataset_distillation.report import table

    log = logging.getLogger("distill")
    run = Run(**_asked(config))
    try:
        write(run.folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True).encode())
        result = pipeline.run(experiment_config.read(config), run)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the former into the latter
        with contextlib.suppress(UserError):
            run.record({"status": "interrupted"})
        log.error("interrupted; what there is: %s", run.folder)
        sys.exit(INTERRUPTED)
    except Exception as error:
        with contextlib.suppress(UserError):  # on a full disk
            run.record_failure(error)
        told = isinstance(error, (UserError, OSError))
        log.error("%s" if told else "the run failed: %s", error, exc_info=not told)
        if HydraConfig.get().mode == RunMode.RUN:
            sys.exit(error.exit_code if isinstance(error, UserError) else 1)
        raise
    if result["evaluation"]:
        table.show(f"test accuracy, {run.choices['dataset']}", table.from_result(result))
    log.info("%s: %s", result["status"], run.folder)
    if result["status"] == "interrupted":
        sys.exit(INTERRUPTED)  # and with it the multirun: nobody wants to press Ctrl-C once a job
    accuracy: float | None = result["validation_accuracy"]
    return accuracy


def _asked(config: DictConfig) -> dict[str, Any]:
    """The fields of `Run`."""
    hydra_config = HydraConfig.get()
    return {
        "folder": Path(hydra_config.runtime.output_dir),
        "config": OmegaConf.to_container(config, resolve=True),
        "choices": _choices(hydra_config.runtime.choices),
        "overrides": list(hydra_config.overrides.task),
    }


def _choices(chosen: Any) -> dict[str, str]:
    """The chosen file of each group; Hydra would also take a list of them, `dataset=[mnist,usps]`."""
    for group in experiment_config.GROUPS:
        if not isinstance(chosen.get(group), str):
            raise ConfigError(f"{group}: takes one of {', '.join(choices(group))}")
    return {group: choice for group in GROUPS if (choice := chosen.get(group))}


def distill() -> None:
    """`distill`: distil a data set; with -m a sweep."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_page())
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come to us, to be told in one line
    logging.raiseExceptions = False  # where the disk is full, the log need not say so line by line
    Check.sweep = None
    experiment_config.register()
    code: int | str | None = 0
    try:
        if any(argument.startswith("query=") for argument in sys.argv):
            _complete()
        else:
            _job()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        if not _jobs() and not isinstance(error, EXPECTED):
            raise
        code = 1 if _jobs() else _complain(error)  # a job has logged what happened to it
    if jobs := _jobs():
        from dataset_distillation.report import table

        table.show_sweep(jobs[0].parent)
    else:
        _withdraw()
    sys.exit(code)


def _complete() -> None:
    """Tab completion without the types in `schema/`, which are nothing to choose from."""
    offered = io.StringIO()
    with contextlib.redirect_stdout(offered):
        _job()
    print(" ".join(word for word in offered.getvalue().split() if not word.startswith("schema")))


def _withdraw() -> None:
    """Remove what Hydra has written for a multirun that was refused before its first job."""
    if Check.sweep:
        with contextlib.suppress(OSError):
            (Check.sweep / "multirun.yaml").unlink()
            Check.sweep.rmdir()


def _jobs() -> list[Path]:
    """The folders of the jobs that this multirun has started; the sweep's folder may hold older ones."""
    if not (Check.sweep and Check.sweep.is_dir()):
        return []
    # A second of grace: file systems round.
    return [j for j in Check.sweep.iterdir() if j.name.isdigit() and j.stat().st_mtime > Check.began - 1]


def _complain(error: BaseException) -> int:
    print(f"distill: {_one_line(error)}", file=sys.stderr)
    if isinstance(error, UserError):
        return error.exit_code
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return UserError.exit_code
    return ConfigError.exit_code


def _one_line(error: BaseException) -> str:
    """Hydra's and OmegaConf's errors take several lines; the user reads one."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={choice}: must be one of {', '.join(sorted(error.options))}"
    cause = error.__cause__
    if not isinstance(cause, OmegaConfBaseException) or not cause.full_key:
        return " ".join(str(error).split())
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        return f"{cause.full_key}: no such key{_hint(cause)}"
    return f"{cause.full_key}: {str(cause).splitlines()[0]}"


def _hint(cause: OmegaConfBaseException) -> str:
    """The key that was meant, or else the keys there are."""
    keys = [str(key) for key in cause.parent_node] if isinstance(cause.parent_node, DictConfig) else []
    if close := difflib.get_close_matches(str(cause.key), keys, 1):
        return f"; did you mean {close[0]}?"
    return f"; the keys are {', '.join(keys)}" if keys else ""
