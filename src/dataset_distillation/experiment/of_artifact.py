"""The config that an artifact was made with, as the experiment `artifact` of distill-evaluate."""

from __future__ import annotations

import copy
import os
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser

from dataset_distillation.datasets import Dataset
from dataset_distillation.errors import FileError, damaged, refuse
from dataset_distillation.evaluation.options import Evaluation
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.digest import absences
from dataset_distillation.sweep.overrides import literal

#: What an artifact's config provides: groups with a named choice, and groups that have values only.
CHOSEN = ("dataset", "architecture", "init", "objective", "inner_optimizer")
#: A group that artifacts have only since it exists.
LATER = ("augmentation",)
VALUES = ("distilled", "evaluation", "seed")
SOURCE = "dataset@init.source"


def register(arguments: list[str]) -> None:
    """Store the experiment `artifact` for the command line `arguments`; they need not name an artifact.

    Raises UserError, with a message of one line, if the artifact cannot be read or if there are several.
    """
    from dataset_distillation.distilled.artifact import load_distilled

    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    typed = {o.get_key_element().lstrip("+"): o for o in OverridesParser.create().parse_overrides(overrides)}
    node: dict[str, Any] = {}
    if "artifact" in typed and typed["artifact"].is_sweep_override():
        _, _, paths = str(typed["artifact"].input_line).partition("=")
        raise refuse("artifact", paths, "must be one file, whose config all jobs share", "run each one alone")
    if "artifact" in typed and (path := typed["artifact"].value()):
        metadata = load_distilled(str(path)).metadata
        _refuse_unknown_data(str(path), metadata, set(typed))
        node = experiment(metadata, {key: override.value() for key, override in typed.items()})
        _refuse_code(str(path), node)
    if "evaluation" not in typed:  # these take long, so they run only on request
        node["evaluation"] = {**node.get("evaluation", {}), "baselines": [], "architectures": []}
    ConfigStore.instance().store(group="experiment", name="artifact", node=node, package="_global_")


def _refuse_code(path: str, node: dict[str, Any]) -> None:
    """Raise UserError if the artifact needs the user's own code and the command does not name that code.

    An artifact may come from anybody, so it must not decide what is imported.
    """
    for override in node["defaults"]:
        [(group, choice)] = override.items()
        group = group.removeprefix("override /")
        key = f"{group.rpartition('@')[2]}.path"
        if choice == "imported":
            remedy = f"add {group}=imported {key}=<module>:<attribute> to import it"
            raise refuse("artifact", path, f"was made with {group}=imported, its author's own code", remedy)
        if choice not in choices(group.partition("@")[0]):
            raise FileError(f"{path}: was made with {group}={choice}, which does not exist")


def _refuse_unknown_data(path: str, metadata: dict[str, Any], typed: set[str]) -> None:
    """Raise UserError if the artifact does not say which dataset and network it was made with.

    An artifact that a Python program made does not name a dataset or an architecture of conf/.
    """
    config = metadata["config"]
    if unknown := [group for group in ("dataset", "architecture") if group not in {*config, *typed}]:
        remedy = f"add {' '.join(f'{group}=...' for group in unknown)}, or use dataset_distillation.evaluate"
        raise refuse(
            "artifact", path, "was made by a Python program, with data or a network of its own", remedy
        )
    if missing := {*CHOSEN, *VALUES} - {*config, *typed}:
        raise FileError(f"{path}: its config has no {min(missing)}")
    if missing := {*CHOSEN[1:]} - {*typed, *(name for name in CHOSEN if metadata.get(name))}:
        raise FileError(f"{path}: its metadata have no {min(missing)}")
    nodes = {key: config[key] for key in (*CHOSEN, *LATER, "distilled", "evaluation") if key in config}
    if isinstance(init := config.get("init"), dict):
        nodes |= {f"init.{key}": init[key] for key in ("source", "pretraining") if init.get(key) is not None}
    if odd := [key for key, node in nodes.items() if not isinstance(node, dict)]:
        raise damaged(path, "a distilled dataset", f"config.{odd[0]} has no keys")


def experiment(metadata: dict[str, Any], typed: dict[str, Any]) -> dict[str, Any]:
    """Return the choices and values of an artifact, without the groups that the command line sets itself.

    The author's own code must be named again (see `_refuse_code`), and its other options stay.
    """
    named = {group: metadata[group] for group in (*CHOSEN[1:], *LATER) if group in metadata}
    known = named | metadata.get("choices", {})
    groups = [group for group in (*CHOSEN, *LATER) if group in metadata["config"]]
    choices = {group: known[group] for group in groups if group in known and group not in typed}
    again = [group for group in groups if group in typed and _same_code(group, metadata, known, typed)]
    keys = [*choices, *again, *(key for key in VALUES if key not in typed)]
    values = {key: copy.deepcopy(metadata["config"][key]) for key in keys}
    for group in again:
        values[group].pop("path", None)
    if "evaluation" in values:
        values["evaluation"] = absences(Evaluation) | values["evaluation"]
    if "dataset" in values:
        _complete(values["dataset"], metadata)
    if "init" in values:
        _portable(values["init"])
        if SOURCE in typed or SOURCE not in known:
            values["init"].pop("source", None)
        else:
            choices[SOURCE] = known[SOURCE]
    defaults = [{f"override /{group}": choice} for group, choice in choices.items()]
    return {"defaults": defaults, **_literal(values)}


def _same_code(group: str, metadata: dict[str, Any], known: dict[str, str], typed: dict[str, Any]) -> bool:
    """Whether the command names the author's own code as the artifact does, from whatever file or module."""
    paths = (metadata["config"][group].get("path"), typed.get(f"{group}.path"))
    imported = known.get(group) == typed[group] == "imported"
    return imported and len({str(path).rpartition(":")[2] for path in paths}) == 1


def _literal(value: Any) -> Any:
    """Return a copy of a value in which `${...}` is text: a file must not read this machine's environment."""
    if isinstance(value, dict):
        return {key: _literal(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_literal(child) for child in value]
    return literal(value) if isinstance(value, str) else value


def _complete(dataset: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Set the measured values of the dataset to those of the distillation, and what an older one lacks."""
    dataset |= absences(Dataset) | dataset
    # Its own may be None, or of another number of channels: then they were measured.
    dataset |= {key: metadata[key] for key in ("mean", "std")}
    dataset["class_names"] = metadata["class_names"]
    _move(dataset)


def _move(dataset: dict[str, Any]) -> None:
    """Remove a folder that does not exist on this machine, so that conf/ provides the one of this machine."""
    # Path.is_dir raises PermissionError below folders of others in Python 3.11 to 3.13.
    if not os.path.isdir(os.path.expanduser(str(dataset.get("root", ".")))):
        del dataset["root"]


def _portable(init: dict[str, Any]) -> None:
    """Remove the options of a pool that depend on this machine or on this command."""
    init.pop("held_out", None)
    if init.get("source"):
        init["source"] |= absences(Dataset) | init["source"]
        _move(init["source"])
    if "pretraining" in init:
        for key in ("folder", "workers"):
            init["pretraining"].pop(key, None)
