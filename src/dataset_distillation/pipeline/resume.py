"""Going on with a run: `distill resume=<run folder>`, or the command that began it, in the same folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dataset_distillation.errors import DAMAGED, ConfigError, UserError
from dataset_distillation.experiment.compose import read, resolved
from dataset_distillation.experiment.digest import differences
from dataset_distillation.run.attempts import begun


def check_folder(folder: Path, config: DictConfig) -> None:
    """Refuse `config` in a folder where a run with another one has left a checkpoint or a result."""
    record, result = begun(folder), finished(folder)
    if not result and not (record and list(folder.glob("checkpoints/*.ckpt"))):
        return
    there = (record or result or {})["config"]
    if found := differences(read(config), resolved(config), there):
        raise ConfigError(f"{folder} holds another run: {', '.join(found)}; use another folder")


def finished(folder: Path) -> dict[str, Any] | None:
    """The result of the run in `folder`, if it is finished and whole; a damaged one is made again."""
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
        if result["status"] != "finished":
            return None
        _read_whole(folder, result)
    except (OSError, UserError, *DAMAGED):
        return None
    return result


def _read_whole(folder: Path, result: dict[str, Any]) -> None:
    """Read the distilled data and what is shown of a result, to see whether that can be."""
    from dataset_distillation.distilled.artifact import load_distilled
    from dataset_distillation.report import methods

    methods.protocol(result)
    methods.rows(result)
    if result["storage"]:
        methods.storage(result["storage"])
        load_distilled(folder / "distilled.safetensors")
