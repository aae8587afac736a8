"""Going on with a run: `distill resume=<run folder>`, or the command that began it, in the same folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataset_distillation.errors import ConfigError, UserError, refuse


def begun(folder: Path) -> dict[str, Any] | None:
    """`run.json` of `folder` (attempts.py), None where there is none. Raises UserError for anything else."""
    path = folder / "run.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        known = {"cwd": str, "overrides": list, "config": dict, "attempts": list}
        if wrong := [key for key, kind in known.items() if not isinstance(record[key], kind)]:
            raise ValueError(f"{wrong[0]} is no {known[wrong[0]].__name__}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not the record of a run, or damaged ({error})") from error
    return record


def command(folder: Path, others: list[str]) -> list[str]:
    """The arguments that began the run in `folder`; goes to the working directory they were typed in."""
    if others:
        raise refuse("resume", folder, "the run goes on as it began", f"leave out {' '.join(others)}")
    folder = folder.absolute()
    if (record := begun(folder)) is None:
        raise UserError(f"resume={folder}: no run began here (no run.json)")
    if Path(record["cwd"]).is_dir():
        os.chdir(record["cwd"])
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [*map(str, record["overrides"]), f"hydra.run.dir='{quoted}'"]


def check(folder: Path, config: dict[str, Any]) -> None:
    """Refuse `config` in a folder where a run with another one has left a checkpoint or a result."""
    record = begun(folder)
    if record is None or not (list(folder.glob("checkpoints/*.ckpt")) or finished(folder)):
        return
    here, there = dict(_flat(config)), dict(_flat(record["config"]))
    differences = [
        f"{key}={here.get(key)} (it has {there.get(key)})"
        for key in dict.fromkeys([*here, *there])
        if here.get(key) != there.get(key)
    ]
    if differences:
        raise ConfigError(f"{folder} holds another run: {', '.join(differences)}; take another folder")


def finished(folder: Path) -> dict[str, Any] | None:
    """The result of the run in `folder`, if it is finished; a damaged one is made again."""
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return result if result["status"] == "finished" else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
