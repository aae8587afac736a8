"""The help page; it is made from the files in `conf/`, so it is always up to date."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata

from dataset_distillation.errors import program
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.compose import GROUP_NAMES

HEAD = """\
distill: squeeze a dataset into a few synthetic images (Wang et al., arXiv 1811.10959)

usage: distill [group=choice] [group.key=value] ...
       distill -m key=value1,value2 ...              every combination, and a table over all of them
       distill resume=<run folder>                   resume a run that was stopped
       distill resume=<run folder> outer.steps=4000  extend a run, be it finished or not
       distill -m ... sweep.resume=<folder>          finish that multirun (see distill-status)

examples:
  distill experiment=demo
  distill dataset=mnist architecture=lenet init=random distilled.steps=10 distilled.epochs=3
  distill -m distilled.images_per_class=1,2,5 distilled.steps=1,5,10

Every group, with its choices:
"""

TAIL = """\

`distill --cfg job` shows every key and its value; each file in conf/ explains its own keys.
Tab completion: eval "$(distill -sc install=bash)"     Hydra's own flags: distill --hydra-help
`distill --version` shows the version of the program, and every result.json those of all libraries."""


PRETRAIN = """\
distill-pretrain: train the networks that init=pretrained draws from, before the runs that need them

usage: distill-pretrain [the arguments of distill] ...

examples:
  distill-pretrain init=pretrained init.pool_size=100 init.held_out=200
  distill-pretrain experiment=mnist_to_usps

`distill` with the same arguments trains missing networks itself. All runs share the networks in
init.pretraining.folder, under a key made of everything that determines them. If the training is killed, the
same command resumes it. --version shows the version of the program.\
"""


EVALUATE = """\
distill-evaluate: judge a distilled set by held-out networks, or the baselines alone, without distilling

usage: distill-evaluate artifact=<distilled.safetensors> [group=choice] [group.key=value] ...
       distill-evaluate dataset=mnist baselines=all
       distill-evaluate -m artifact=<path> key=value1,value2 ...    a table over all combinations

examples:
  distill-evaluate artifact=outputs/demo/distilled.safetensors init=random baselines=all
  distill-evaluate -m artifact=outputs/demo/distilled.safetensors init=random architecture=lenet,mlp,convnet
  distill-evaluate -m artifact=outputs/demo/distilled.safetensors init=random training=ours,dc,dsa
  distill-evaluate artifact=outputs/demo/distilled.safetensors init=random explain=true
  distill-evaluate artifact=outputs/demo/distilled.safetensors training.epochs=20
  distill-evaluate artifact=outputs/demo/distilled.safetensors inner_optimizer=adam \\
      training.learning_rate=0.001 training.batch_size=10 training.epochs=100

The config is the one that the artifact was made with. A group on the command line has its values from conf/
instead, as training, trainer and logger always have. Without baselines and explain=true only the test set is
read, unless images are whitened, for which the train set is needed.
`distill-evaluate --cfg job` shows every key and its value; conf/evaluate.yaml has the keys that `distill`
does not have. --version shows the version of the program.

training: how networks are trained on the artifact
"""


FIRST = """\
Type this first; it distills ten images of handwritten digits in about a minute, and downloads nothing:

  distill experiment=demo

Then, with your own images, in one folder for each class:

  distill dataset=image_folder dataset.path=<folder> architecture=convnet

"""


def first_page() -> str:
    """What `distill` alone answers."""
    return FIRST + help_page()


def help_page() -> str:
    lines = []
    for group in GROUP_NAMES:
        lines += [f"\n{group}", *_described(group)]
    return HEAD + "\n".join(lines) + "\n" + TAIL


def evaluate_page() -> str:
    return EVALUATE + "\n".join(_described("training"))


def _described(group: str) -> list[str]:
    return [f"  {choice:<20} {what}" for choice, what in choices(group).items()]


def answer(page: Callable[[], str]) -> None:
    """Answer --help with `page`, or --version, and exit; return if neither is among the arguments."""
    arguments = set(sys.argv[1:])
    if {"--help", "-h"} & arguments:
        print(page())
        sys.exit()
    if "--version" in arguments:
        print(version_line())
        sys.exit()


def version_line() -> str:
    return f"dataset-distillation {metadata.version('dataset-distillation')} ({program()})"
