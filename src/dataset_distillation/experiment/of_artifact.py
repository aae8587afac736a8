"""The config that an artifact was made with, as the experiment `artifact` of distill-evaluate."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser

from dataset_distillation.errors import UserError, refuse
from dataset_distillation.experiment.compose import choices

#: What an artifact brings: groups with a choice of their own, and those of which the values say all.
CHOSEN = ("dataset", "architecture", "init", "objective", "inner_optimizer")
VALUES = ("distilled", "evaluation", "seed")
SOURCE = "dataset@init.source"


def register(arguments: list[str]) -> None:
    """Store the experiment `artifact` for the command line `arguments`; they need not name an artifact.

    Raises UserError, one line, if the artifact cannot be read or if there are several.
    """
    from dataset_distillation.distilled.artifact import load_distilled

    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    asked = {o.get_key_element().lstrip("+"): o for o in OverridesParser.create().parse_overrides(overrides)}
    node: dict[str, Any] = {}
    if "artifact" in asked and asked["artifact"].is_sweep_override():
        _, _, paths = str(asked["artifact"].input_line).partition("=")
        raise refuse("artifact", paths, "must be one file, whose config all jobs share", "run each by itself")
    if "artifact" in asked and (path := asked["artifact"].value()):
        metadata = load_distilled(str(path)).metadata
        _refuse_unknown_data(str(path), metadata, set(asked))
        node = experiment(metadata, set(asked))
        _refuse_code(str(path), node)
    if "evaluation" not in asked:  # baselines take hours, and are not run unasked
        node["evaluation"] = {**node.get("evaluation", {}), "baselines": []}
    ConfigStore.instance().store(group="experiment", name="artifact", node=node, package="_global_")


def _refuse_code(path: str, node: dict[str, Any]) -> None:
    """Only who types it imports code; an artifact may come from anybody."""
    for override in node["defaults"]:
        [(group, choice)] = override.items()
        group = group.removeprefix("override /")
        key = f"{group.rpartition('@')[2]}.path"
        if choice == "imported":
            remedy = f"add {group}=imported {key}=<module>:<attribute> to import it"
            raise refuse("artifact", path, f"was made with {group}=imported, code of its user's", remedy)
        if choice not in choices(group.partition("@")[0]):
            raise UserError(f"{path}: was made with {group}={choice}, which there is not")


def _refuse_unknown_data(path: str, metadata: dict[str, Any], asked: set[str]) -> None:
    """An artifact that a Python program made knows neither dataset nor network by a name of conf/."""
    config = metadata["config"]
    if unknown := [group for group in ("dataset", "architecture") if group not in {*config, *asked}]:
        remedy = f"add {' '.join(f'{group}=...' for group in unknown)}, or use dataset_distillation.evaluate"
        raise refuse(
            "artifact", path, "was made by a Python program, with data or a network of its own", remedy
        )
    if missing := {*CHOSEN, *VALUES} - {*config, *asked}:
        raise UserError(f"{path}: its config has no {min(missing)}")


def experiment(metadata: dict[str, Any], asked: set[str]) -> dict[str, Any]:
    """The choices and values of an artifact, without the groups that are `asked` for otherwise."""
    known = {group: metadata[group] for group in CHOSEN[1:]} | metadata.get("choices", {})
    choices = {group: known[group] for group in CHOSEN if group in known and group not in asked}
    values = {key: copy.deepcopy(metadata["config"][key]) for key in (*choices, *VALUES) if key not in asked}
    if "dataset" in values:
        _complete(values["dataset"], metadata)
    if "init" in values:
        _portable(values["init"])
        if SOURCE in asked or SOURCE not in known:
            values["init"].pop("source", None)
        else:
            choices[SOURCE] = known[SOURCE]
    return {"defaults": [{f"override /{group}": choice} for group, choice in choices.items()], **values}


def _complete(dataset: dict[str, Any], metadata: dict[str, Any]) -> None:
    """What the data set's config left to be measured is as it was then."""
    if dataset["mean"] is None:
        dataset |= {key: metadata[key] for key in ("mean", "std")}
    dataset["class_names"] = metadata["class_names"]
    _move(dataset)


def _move(dataset: dict[str, Any]) -> None:
    """A folder that is not here is left to conf/, which finds that of this machine."""
    if not Path(dataset.get("root", ".")).is_dir():
        del dataset["root"]


def _portable(init: dict[str, Any]) -> None:
    """A pool has the networks that are asked for here, in a folder of this machine."""
    init.pop("held_out", None)
    if init.get("source"):
        _move(init["source"])
    if "pretraining" in init:
        for key in ("folder", "workers"):
            del init["pretraining"][key]
