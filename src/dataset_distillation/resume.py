"""Going on with a run: `distill resume=<run folder>`, or the command that began it, in the same folder."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dataset_distillation.config import Evaluate
from dataset_distillation.errors import DAMAGED, ConfigError, UserError, program, refuse
from dataset_distillation.help import GROUPS, choices

_RECORD: dict[str, Any] = {"cwd": str, "overrides": list, "config": dict, "attempts": list}
_ATTEMPT: dict[str, Any] = {
    "started": str,
    "seconds": int | float,
    "cpu_seconds": int | float,
    "git_commit": str | None,
    "peak_memory_mb": int | None,
    "peak_gpu_memory_mb": int | None,
}


def begun(folder: Path) -> dict[str, Any] | None:
    """`run.json` of `folder` (attempts.py), None where there is none. Raises UserError for anything else."""
    path = folder / "run.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        parts = [(_RECORD, record), *((_ATTEMPT, attempt) for attempt in record["attempts"])]
        if wrong := [key for kinds, part in parts for key in kinds if not isinstance(part[key], kinds[key])]:
            raise ValueError(f"{wrong[0]} is of another kind")
    except FileNotFoundError:
        return None
    except (OSError, *DAMAGED) as error:
        raise UserError(f"{path}: not the record of a run, or damaged ({error})") from error
    return record


def command(folder: Path, others: list[str]) -> list[str]:
    """The arguments that began the run in `folder`; goes to the working directory they were typed in.

    Somebody may have sent the folder: what imports code must be typed again, as `others`, and in the folder
    that it is imported from.
    """
    folder = folder.absolute()
    if (record := begun(folder)) is None:
        raise UserError(f"resume={folder}: no run began here (no run.json)")
    overrides, there = list(map(str, record["overrides"])), Path(record["cwd"])
    importing = _importing(folder / "run.json", overrides)
    if needless := [other for other in others if other not in importing]:
        raise refuse("resume", folder, "the run goes on as it began", f"leave out {shlex.join(needless)}")
    here = not there.is_dir() or there.samefile(".")
    if importing and not (here and set(importing) <= set(others)):
        again = shlex.join([program(), f"resume={folder}", *importing])
        remedy = again if here else f"cd {shlex.quote(str(there))}; {again}"
        raise refuse("resume", folder, "it imports code, which must be asked for", f"type {remedy}")
    if there.is_dir():
        os.chdir(there)
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    # An experiment may be a multirun (figure4), of which this is one job.
    return [*overrides, f"hydra.run.dir='{quoted}'", "hydra.mode=RUN"]


def _importing(path: Path, overrides: list[str]) -> list[str]:
    """Those of the overrides that import code. Raises UserError for what no run could have been asked for.

    Hydra's own keys are such (they are not recorded): with them a file could run anything.
    """
    parsed = [(text, *_asked(path, text)) for text in overrides]
    doors = [place for _, place, value in parsed if value == "imported"]
    return [
        text for text, place, _ in parsed if any(place.startswith(d) or d.startswith(place) for d in doors)
    ]


def _asked(path: Path, text: str) -> tuple[str, Any]:
    """The place in the config that an override sets, and its value."""
    known = {*GROUPS, *(f.name for f in fields(Evaluate))}
    try:
        override = OverridesParser.create().parse_override(text)
        group, value = override.key_or_group, override.value()
        named = group in GROUPS and value is not None and not isinstance(value, dict)
        if group.split(".")[0] not in known or override.package not in (None, "init.source"):
            raise ValueError("no key of an experiment")
        if named and value not in choices(group):
            raise ValueError(f"no choice of {group}")
    except (HydraException, ValueError, TypeError) as error:
        raise UserError(f"{path}: {text}: not from the command of a run ({error})") from error
    return override.package or group, value


def check(folder: Path, config: dict[str, Any]) -> None:
    """Refuse `config` in a folder where a run with another one has left a checkpoint or a result."""
    record, result = begun(folder), finished(folder)
    if not result and not (record and list(folder.glob("checkpoints/*.ckpt"))):
        return
    here, there = dict(_flat(config)), dict(_flat((record or result or {})["config"]))
    differences = [
        f"{key}={here.get(key)} (it has {there.get(key)})"
        for key in dict.fromkeys([*here, *there])
        if here.get(key) != there.get(key)
    ]
    if differences:
        raise ConfigError(f"{folder} holds another run: {', '.join(differences)}; take another folder")


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
    from dataset_distillation.artifact import load_distilled
    from dataset_distillation.report import methods

    dict(_flat(result["config"]))
    methods.protocol(result)
    methods.rows(result)
    if result["storage"]:
        methods.storage(result["storage"])
        load_distilled(folder / "distilled.safetensors")


def _flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
