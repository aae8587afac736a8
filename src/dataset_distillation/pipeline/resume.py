"""Resuming a run: `distill resume=<run folder>`, or the command that started it, in the same folder."""

from __future__ import annotations

import filecmp
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dataset_distillation.errors import ConfigError, FileError, refuse
from dataset_distillation.experiment.compose import read as read_config
from dataset_distillation.experiment.compose import resolved
from dataset_distillation.experiment.digest import adopt, differences
from dataset_distillation.run.attempts import JUDGES, extended
from dataset_distillation.run.folder import ARTIFACT, CHECKPOINTS, RESULT, RUN, checkpoints
from dataset_distillation.run.records import Result, RunRecord, read
from dataset_distillation.run.run import program_of


def check_folder(folder: Path, config: DictConfig, choices: Mapping[str, str]) -> None:
    """Raise ConfigError if a run with another config, or of other bytes, has left a checkpoint or a result.

    A run that is not finished may be given other judges.

    choices: the choice of each group, of which `config` has the values alone. Keys that a run of an older
        version did not have get their old meaning in `config`.

    Raises FileError if something there cannot be written without waiting, or lies elsewhere.
    """
    _refuse_odd(folder)
    record, result = read(RunRecord, folder / RUN), finished(folder)
    _refuse_changed(folder, config.get("artifact"), result)
    earlier = record or result
    if earlier is None:
        return
    if (owner := program_of(earlier.config)) != program_of(config):
        raise ConfigError(f"{folder} holds a run of {owner}; use another folder")
    if result is None and not checkpoints(folder / CHECKPOINTS):
        return
    known = earlier.choices or (result.choices if result else {})  # which older records of a run lack
    adopt(config, earlier.config)
    e, here = read_config(config), resolved(config)
    judges = () if result else JUDGES
    if changes := differences(e, here, earlier.config, choices, known, but=judges):
        raise ConfigError(f"{folder} holds another run: {', '.join(changes)}; use another folder")


def _refuse_changed(folder: Path, artifact: str | None, result: Result | None) -> None:
    """Raise ConfigError if `artifact` has other bytes than the copy that `result` was made from."""
    if artifact is None or result is None or result.config.get("artifact") != artifact:
        return
    if not filecmp.cmp(artifact, folder / ARTIFACT, shallow=False):
        allowed = f"is no longer the file that was judged in {folder}"
        raise refuse("artifact", artifact, allowed, "set another hydra.run.dir")


def _refuse_odd(folder: Path) -> None:
    """Raise FileError for pipes and devices, and for links in the place of files that Hydra writes into."""
    for path in [*folder.glob("*"), *folder.glob(".hydra/*")]:
        written = path.suffix == ".log" or path.parent.name == ".hydra"
        if path.is_symlink() and written:
            raise FileError(f"{path}: a link, and the run would write elsewhere; remove it")
        if path.exists() and not (path.is_file() or (path.is_dir() and not written)):
            raise FileError(f"{path}: not a file that a run can write into; remove it")


def finished(folder: Path, config: Mapping[str, Any] | None = None) -> Result | None:
    """Return the result of the run in `folder` if it is finished and undamaged, else None.

    config: that of the present command; a run whose limits it raises is not finished.
    """
    try:
        result = read(Result, folder / RESULT)
        if result is None or result.status != "finished":
            return None
        if config and extended(config, result.config):
            return None
        if result.storage:
            from dataset_distillation.distilled.artifact import load_distilled

            load_distilled(folder / ARTIFACT)
    except FileError:
        return None
    return result
