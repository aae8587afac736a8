"""`resume=<run folder>`: the command that started a run."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dataset_distillation.cli.messages import GROUPED
from dataset_distillation.errors import UserError, program, refuse
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.compose import GROUP_NAMES
from dataset_distillation.experiment.tree import Evaluate
from dataset_distillation.run.attempts import JUDGES, LIMITS
from dataset_distillation.run.folder import RUN
from dataset_distillation.run.records import RunRecord, read
from dataset_distillation.run.run import program_of
from dataset_distillation.sweep.jobs import to_finish
from dataset_distillation.sweep.overrides import quoted

#: `${`, unless it is escaped; it could read this machine's environment.
INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*\$\{")


def resume_command(folder: Path, others: list[str]) -> list[str]:
    """Return the arguments that started the run in `folder`, and change to the folder they were typed in.

    The folder may come from somebody else. So arguments that import code must be typed again, as `others`,
    and in the folder that the code is imported from. Limits of the run, and what judges at its end, may be
    among them.
    """
    folder = folder.expanduser().absolute()
    if (record := read(RunRecord, folder / RUN)) is None:
        if command := to_finish(folder):
            raise refuse("resume", folder, "a multirun, not a run", f"type {command}")
        raise refuse("resume", folder, "no run was started here (no run.json)")
    if (owner := program_of(record.config)) != program():
        raise refuse("resume", folder, f"a run of {owner}", f"type {owner} resume={folder}")
    overrides, there = record.overrides, Path(record.cwd)
    importing = _importing(folder / RUN, overrides)
    changes = [other for other in others if other.partition("=")[0] in (*LIMITS, *JUDGES)]
    if needless := [other for other in others if other not in (*importing, *changes)]:
        raise refuse("resume", folder, "the run keeps its arguments", f"leave out {shlex.join(needless)}")
    here = not there.is_dir() or there.samefile(".")
    if importing and not (here and set(importing) <= set(others)):
        again = shlex.join([program(), f"resume={folder}", *importing])
        remedy = again if here else f"cd {shlex.quote(str(there))}; {again}"
        raise refuse("resume", folder, "it imports code, which you must name again", f"type {remedy}")
    if there.is_dir():
        os.chdir(there)
    # The experiment may be a multirun (figure4); this run is one of its jobs.
    return [*overrides, *changes, f"hydra.run.dir={quoted(str(folder))}", "hydra.mode=RUN"]


def _importing(path: Path, overrides: list[str]) -> list[str]:
    """Return the overrides that import code.

    Raises UserError for an override that the command of a run cannot have had. Hydra's own keys are such
    overrides (they are not recorded): with them a file could run any code.
    """
    parsed = [(text, *_parsed(path, text)) for text in overrides]
    doors = [place for _, place, value in parsed if value == "imported"]
    return [
        text for text, place, _ in parsed if any(place.startswith(d) or d.startswith(place) for d in doors)
    ]


def _parsed(path: Path, text: str) -> tuple[str, Any]:
    """Return the place in the config that an override sets, and its value."""
    known = {*GROUP_NAMES, *(f.name for f in fields(Evaluate))}
    try:
        override = OverridesParser.create().parse_override(text)
        group, value = override.key_or_group, override.value()
        named = group in GROUP_NAMES and value is not None and not isinstance(value, dict)
        if INTERPOLATION.search(text):
            raise ValueError("an interpolation, and files hold values; type the command of the run again")
        if group.split(".")[0] not in known or override.package not in (None, *GROUPED):
            raise ValueError("not a key of an experiment")
        if named and value not in choices(group):
            raise ValueError(f"not a choice of {group}")
    except (HydraException, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: {text}: not from the command of a run ({error})") from error
    return override.package or group, value
