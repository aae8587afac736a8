"""Console entry points: compose, check, call. Nothing heavy is imported before a run starts."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import os
import sys
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
from dataset_distillation.help import help_page


class Check(Callback):
    """Checks a run before Hydra makes its folder, and notes where a multirun writes."""

    sweep: Path | None = None

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        # Hydra turns an exception of a callback into a warning, so this leaves by sys.exit.
        try:
            task = copy.deepcopy(config)
            with open_dict(task):
                del task["hydra"]
            experiment_config.read(task)
        except UserError as error:
            sys.exit(_complain(error))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Check.sweep = Path(config.hydra.sweep.dir)


@hydra.main(version_base="1.3", config_path="pkg://dataset_distillation.conf", config_name="config")
def _job(config: DictConfig) -> Any:
    from dataset_distillation.cli import (
        run_job,
    )  # by name, so that cluster launchers can pickle this function

    return run_job(config)


def run_job(config: DictConfig) -> float | None:
    """One run, in the folder Hydra made for it; returns the validation accuracy for sweepers to maximise."""
    import logging

    from dataset_distillation import pipeline
    from dataset_distillation.files import write
    from dataset_distillation.report import table

    hydra_config = HydraConfig.get()
    log = logging.getLogger("distill")
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    groups = (field.name for field in dataclasses.fields(experiment_config.Experiment))
    run = pipeline.Run(
        folder=Path(hydra_config.runtime.output_dir),
        config=resolved,
        choices={group: choice for group in groups if (choice := hydra_config.runtime.choices.get(group))},
        overrides=list(hydra_config.overrides.task),
    )
    try:
        write(run.folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True).encode())
        result = pipeline.run(experiment_config.read(config), run)
    except BaseException as error:
        run.record_failure(error)
        if isinstance(error, UserError):
            log.error("%s", error)
            if hydra_config.mode == RunMode.RUN:
                sys.exit(error.exit_code)
        else:
            log.exception("the run failed")
        raise
    if result["evaluation"]:
        table.show(f"test accuracy, {run.choices['dataset']}", table.from_result(result))
    log.info("%s: %s", result["status"], run.folder)
    accuracy: float | None = result["validation_accuracy"]
    return accuracy


def distill() -> None:
    """`distill`: distil a data set; with -m a sweep."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_page())
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come to us, to be told in one line
    experiment_config.register()
    code: int | str | None = 0
    try:
        _job()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = 130
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        code = _complain(error)
    finally:
        if Check.sweep and Check.sweep.is_dir():
            from dataset_distillation.report import table

            table.show_sweep(Check.sweep)
    sys.exit(code)


def _complain(error: BaseException) -> int:
    print(f"distill: {_one_line(error)}", file=sys.stderr)
    if isinstance(error, UserError):
        return error.exit_code
    return (
        1 if isinstance(error, OSError) and not isinstance(error, HydraException) else ConfigError.exit_code
    )


def _one_line(error: BaseException) -> str:
    """Hydra's and OmegaConf's errors take several lines; the user reads one."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={choice}: must be one of {', '.join(sorted(error.options))}"
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        keys = list(cause.parent_node or []) if isinstance(cause.parent_node, DictConfig) else []
        close = difflib.get_close_matches(str(cause.key), [str(key) for key in keys], 1)
        hint = (
            f"; did you mean {close[0]}?"
            if close
            else f"; the keys are {', '.join(map(str, keys))}"
            if keys
            else ""
        )
        reason = (
            "no such key" + hint
            if isinstance(cause, (ConfigAttributeError, ConfigKeyError))
            else str(cause).splitlines()[0]
        )
        return f"{cause.full_key}: {reason}"
    return " ".join(str(error).split())
