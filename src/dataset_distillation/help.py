"""The help page: made from the files in `conf/`, so it cannot fall behind them."""

from __future__ import annotations

from dataclasses import fields
from importlib.resources import files

from dataset_distillation.config import Experiment

GROUPS = ["experiment", *(field.name for field in fields(Experiment) if field.name != "seed")]

HEAD = """\
distill: squeeze a data set into a few synthetic images (Wang et al., arXiv 1811.10959)

usage: distill [group=choice] [group.key=value] ...
       distill -m key=value1,value2 ...              every combination, and a table over all of them

examples:
  distill experiment=demo
  distill dataset=mnist architecture=lenet init=random distilled.steps=10 distilled.epochs=3
  distill -m distilled.images_per_class=1,2,5 distilled.steps=1,5,10

Every group, with its choices:
"""

TAIL = """\

`distill --cfg job` shows every key and its value; each file in conf/ explains its own.
Tab completion: eval "$(distill -sc install=bash)"     Hydra's own flags: distill --hydra-help"""


def choices(group: str) -> dict[str, str]:
    """Each choice of a group, with the comment at the head of its file, which says what it is."""
    folder = files("dataset_distillation.conf") / group
    return {
        file.name.removesuffix(".yaml"): _head(file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml")
    }


def _head(yaml: str) -> str:
    # Hydra wants its `# @package` line first.
    return next(line for line in yaml.splitlines() if not line.startswith("# @package")).lstrip("# ")


def help_page() -> str:
    lines = []
    for group in GROUPS:
        lines.append(f"\n{group}")
        lines += [f"  {choice:<20} {what}" for choice, what in choices(group).items()]
    return HEAD + "\n".join(lines) + "\n" + TAIL
