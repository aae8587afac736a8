"""Odd command lines and their exit codes, all in one process: one clear line, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_distillation.errors import count
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.compose import GROUPS, kinds_of
from dataset_distillation.experiment.tree import Evaluate
from support.command_line import (
    Ended,
    distill,
    distill_evaluate,
    distill_import,
    distill_pretrain,
    distill_report,
    distill_status,
)
from support.experiments import TINY

#: What the user's own code may look like; `sys.exit(0)` in it is an error.
CODE = """
import sys
import numpy as np
import torch
from torch import nn
IMAGES = np.arange(8 * 64, dtype="uint8").reshape(8, 8, 8)
def leaves(*_): sys.exit(0)
def presses(): raise KeyboardInterrupt
def far(): return (IMAGES, [0, 1, 0, 1, 0, 1, 0, 10**12]), (IMAGES, [0, 1] * 4)
def one(): return (IMAGES, [0] * 8), (IMAGES, [0] * 8)
def no_test(): return (IMAGES, [0, 1, 2, 0, 1, 2, 0, 1]), (IMAGES, [0, 1] * 4)
def no_train(): return (IMAGES, [0, 2] * 4), (IMAGES, [0, 1, 2, 0, 1, 2, 0, 1])
def empty(): return (IMAGES[:0], np.zeros(0, int)), (IMAGES[:0], np.zeros(0, int))
number = 3
def two(): return (IMAGES, [0, 1] * 4), (IMAGES, [0, 1] * 4)
class Leaves(nn.Linear):
    def __init__(self): super().__init__(64, 2)
    def forward(self, images):
        if torch.is_grad_enabled(): sys.exit(0)
        return super().forward(images.flatten(1))
"""
IMPORTED = "architecture=linear dataset=imported dataset.channels=1 dataset.path=odd"
LEAVES = "dataset.validation=0.4 dataset.image_size=8 architecture=imported architecture.path=odd:Leaves"
ATTACK = "objective=attack init=pretrained distilled.steps=1"
LINEAR = "dataset=linear_regression objective=regression architecture=linear distilled.labels=learned"
TORCHVISION = "architecture=convnet dataset=torchvision dataset.name"
JOBLIB = "hydra/launcher=joblib hydra.launcher"
LOCAL = "hydra/launcher=submitit_local hydra.launcher"
SLURM = "hydra/launcher=submitit_slurm hydra.launcher"
OPTUNA = "hydra/sweeper=optuna hydra.sweeper"
#: What needs an extra, and its plugin.
PLUGINS = {"joblib": "joblib_launcher", "submitit": "submitit_launcher", "optuna": "optuna_sweeper"}
MANY = (10**9, 10**12, -1)
PROGRAMS = {
    "p": distill_pretrain,
    "e": distill_evaluate,
    "s": distill_status,
    "r": distill_report,
    "i": distill_import,
}

#: Command lines that are refused before anything is written: exit code 2, or 1 if a file is not there. `d` is
#: `distill` with a tiny experiment, `m` the same with -m; the others are in PROGRAMS.
REFUSED = f"""
d distilled.images_per_class=1000000        -> distilled.images_per_class=1000000: needs
d distilled.steps=1000000                   -> distilled.steps=1000000: needs
d distilled.steps=1000000 distilled.epochs=1000000 -> GB for the distilled data, and
d outer.batch_size=1000000 dataset.image_size=1024 architecture=linear -> outer.batch_size=1000000: needs
d distilled.epochs=100000 distilled.images_per_class=20 -> trainer.memory=free: the meta-gradient needs about
d architecture=mlp architecture.width=100000 architecture.layers=1000 -> architecture=mlp: needs
d architecture=convnet architecture.width=100000 -> architecture=convnet: needs
d evaluation.networks=100000 architecture=mlp architecture.width=4096 -> evaluation.networks=100000: needs
d init=pretrained init.pool_size=100000 architecture=mlp architecture.width=4096 -> init.pool_size=100
d {LINEAR} evaluation.baselines=[] dataset.image_size=3000 dataset.rows=9000000 -> dataset.rows=9000000: needs
d dataset.validation=0.001                  -> dataset.validation=0.001: cuts 2 of 1437 images
d hydra.run.dir=~/x                         -> ~ stands for no folder in a config; type hydra.run.dir=$HOME/x
d dataset.validation=1                      -> dataset.validation=1.0: must lie between 0 and 1
d dataset.class_names=[a,b]                 -> must name the 10 classes of digits
d dataset.class_names=[a,b,c,d,e,f,g,h,i,a] -> dataset.class_names=a: names several classes
d dataset.class_names=[a]                   -> must name two or more classes
d "dataset.class_names=[a,'']"              -> dataset.class_names.1=: is empty
d dataset.name=                             -> dataset.name=: is empty
d "dataset.name=' '"                        -> is empty
d dataset.mean=[0.5]                        -> set both or neither
d dataset.channels=2                        -> dataset.channels=2: must be 1 (gray) or 3 (RGB)
d dataset.mean=[0.5] dataset.std=[1e-300]   -> dataset.std.0=1e-300: must be 0, or in size from 1e-30
d dataset.border=14                         -> less than half of dataset.image_size=28
d {TORCHVISION}=FashionMnist                -> did you mean FashionMNIST
d {TORCHVISION}=CocoCaptions                -> has no train and test split
d {TORCHVISION}=VisionDataset               -> has no train and test split
d {TORCHVISION}=__doc__                     -> no such class in torchvision.datasets
d {TORCHVISION}=                            -> dataset.name=: is empty
d {TORCHVISION}=FashionMNIST dataset.class_names=[a,b] -> must name the 10 classes
d init=pretrained dataset@init.source=torchvision init.source.name=Nist init.source.channels=1 \
    init.source.image_size=28 -> dataset.name=Nist: no such class
d dataset=mnist dataset.root=               -> dataset.root=: is empty
d dataset=image_folder dataset.path= architecture=linear -> dataset.path=: is empty
d dataset=image_folder dataset.path=nowhere architecture=linear -> dataset.path=nowhere: no such folder
d dataset=image_folder architecture=linear  -> dataset.path=???: must be given
d {IMPORTED}                                -> must be <module>:<attribute>
d {IMPORTED}:                               -> must be <module>:<attribute>
d {IMPORTED}:nothing                        -> has no nothing
d {IMPORTED}er:load                         -> no module odder
d {IMPORTED}.deeper:load                    -> no module odd.deeper
d {IMPORTED} dataset.path=                  -> dataset.path=: is empty
d {IMPORTED} dataset.path=leaves:load       -> importing leaves raised SystemExit
d architecture=imported architecture.path=leaves:Net -> importing leaves raised SystemExit
d architecture=imported architecture.path=  -> architecture.path=: is empty
d architecture=imported                     -> architecture.path=???: must be given
d architecture=torchvision architecture.name=resnet19 dataset.channels=3 -> no such network
d architecture=torchvision architecture.name=mobilenet_v3_small dataset.channels=3 -> has no gradient of
d architecture=torchvision architecture.name=resnet18 -> needs RGB images
d architecture=convnet architecture.depth=9 -> architecture=convnet halves images 9 times
d architecture=convnet architecture.norm=group architecture.width=6 -> must be a multiple of 4
d {ATTACK} objective.attacked_class=99      -> objective.attacked_class=99: must be a class
d {ATTACK} objective.attacked_class=1       -> is the attacked class too
d {ATTACK} objective.attacked_class=        -> objective.attacked_class=: is empty
d {ATTACK} objective.target_class=cat       -> objective.target_class=cat: must be a class
d {ATTACK} objective.target_class=-1        -> objective.target_class=-1: must be a class
d {ATTACK} distilled.steps=2                -> an attack is one gradient step
d objective=attack distilled.steps=1        -> needs networks that are already trained
d objective=adaptation init=pretrained      -> is the dataset that is distilled
d objective=regression                      -> predicts numbers
d dataset=linear_regression architecture=linear -> predicts classes
d {LINEAR} dataset.rows=5                   -> must be 9 or more
d {LINEAR} evaluation.baselines=all         -> predicts classes, and
d init=pretrained evaluation.networks=3 init.held_out=2 -> init.held_out=2: evaluation needs 3 networks
d init=pretrained init.networks=9 init.pool_size=8 -> an outer step cannot train more networks
d init=pretrained init.pretraining.folder=  -> init.pretraining.folder=: is empty
d init=fixed init.networks=2                -> a fixed initialization is one network
d init=checkpoint                           -> give a file or torchvision's weights by name
d init=checkpoint init.path=                -> init.path=: is empty
d init=checkpoint init.path=nowhere         -> init.path=nowhere: no such file
d init=checkpoint init.weights=             -> init.weights=: is empty
d init=checkpoint init.weights=Alexnet      -> no such weights in torchvision.models
d init=checkpoint init.path=a init.weights=b -> init.weights is b
d distilled.start=artifact distilled.start_from=nowhere -> distilled.start_from=nowhere: no such file
d distilled.start=artifact distilled.start_from=/dev/zero -> no such file
d distilled.learning_rate=1e300             -> must be 0, or in size from 1e-30 to 1e30
d evaluation.baselines=[nonsense]           -> evaluation.baselines=nonsense: must be one of
d evaluation.baselines=                     -> evaluation.baselines=: is empty
d evaluation.selection=test                 -> must be one of paper, validation
d outer.schedule=linear                     -> outer.schedule=linear: must be one of constant, cosine
d outer.betas=[0.5]                         -> must be two numbers in [0, 1)
d outer.learning_rate=0                     -> outer.learning_rate=0.0: must be greater than 0
d outer.learning_rate=1e300                 -> outer.learning_rate=1e+300: must be 0, or in size from
d outer.learning_rate=nan                   -> outer.learning_rate=nan: must be a finite number
d outer.clip=0                              -> outer.clip=0.0: must be greater than 0
d distilled.steps=3 distilled.inner_steps=2 -> distilled.inner_steps=2: must be distilled.steps=3 or more
d trainer.memory=swap                       -> trainer.memory=swap: must be one of free, ignore
d trainer.precision=16-mixed                -> the inner gradients underflow
d trainer.devices=2                         -> set trainer.strategy=ddp
d trainer.devices=2 trainer.strategy=ddp    -> must be a multiple of trainer.devices=2
d trainer.checkpoint_seconds=-1             -> must be 0 or more
d unroll.compile=true                       -> a graph of higher cannot be compiled
d unroll=truncated unroll.start=2           -> must be below 2
d unroll=truncated unroll.start=never       -> must be last, random, curriculum
d inner_optimizer=adam inner_optimizer.eps=0 -> inner_optimizer.eps=0.0: must be greater than 0
d inner_optimizer=momentum inner_optimizer.momentum=1 -> must be in (0, 1)
d inner_optimizer.weight_decay=-1           -> must be 0 or more
d augmentation=blur                        -> augmentation=blur: must be one of
d augmentation=flip_rotate augmentation.degrees=-1 -> augmentation.degrees=-1.0: must be 0 or more
d augmentation=dsa augmentation.operations=[] -> is empty; use augmentation=none
d {LINEAR} augmentation=dsa                 -> changes images, and dataset.name=linear_regression has rows
d logger=wandb logger.project=              -> logger.project=: is empty
d logger=wandb logger.mode=disabled         -> must be one of offline, online
d seed=                                     -> seed: Value ''
d seed=1.5                                  -> seed: Value '1.5'
d seed=[1]                                  -> seed: Value '[1]'
d seed                                      -> seed: values are given as key=value
d =1                                        -> must be a string
d ''                                        -> mismatched input
d dataset.root=café                         -> type "dataset.root='café'"
d distilled.start_from=a(1)                 -> type "distilled.start_from='a(1)'"
d distilled.start_from=~/a                  -> type "distilled.start_from='~/a'"
d outer.betas=[0.5                          -> no viable alternative at input
d seed=1,2                                  -> add --multirun
d seed=range(0,1000000000)                  -> requires --multirun
d mnist                                     -> did you mean dataset=mnist? values are given as
d seed=1 demo                               -> demo: did you mean experiment=demo?
d minst                                     -> did you mean dataset=mnist?
d xyz                                       -> xyz: values are given as key=value; distill --help shows
d --steps 10                                -> --steps 10: did you mean distilled.steps=10 or outer.steps=10?
d --dataset=usps                            -> did you mean dataset=usps?
d --learning-rate 0.1                       -> distilled.learning_rate=0.1
d --experimental-rerun=odd.py               -> --experimental-rerun=odd.py: values are given as
d --cfg                                     -> argument --cfg/-c: expected one argument
d --cfg nonsense                            -> argument --cfg/-c: invalid choice: 'nonsense'
d --info nonsense seed=1                    -> argument --info/-i: invalid choice: 'nonsense'
d seed=x --cfg job                          -> seed: Value 'x'
d -m --run seed=1,2                         -> Only one of
d --zzz                                     -> --zzz: values are given as key=value
p -m init=pretrained seed=1,2               -> -m: one command trains one pool
p --resolve init=pretrained                 -> distill-pretrain has no such option
p mnist                                     -> did you mean dataset=mnist?
e x.safetensors                             -> did you mean artifact=x.safetensors?
d dataset=imagenet                          -> dataset=imagenet: must be one of
d dataset=                                  -> dataset
d dataset=[digits,mnist]                    -> while composing config
d experiment=demo2                          -> experiment=demo2: must be one of
d distilled={{stepz:1}}                     -> distilled.stepz: no such key; did you mean steps?
d a.b=1                                     -> a: no such key
d +a=1                                      -> a=1: no such key
d ++distilled.a.b=1                         -> distilled.a=
d ~logger                                   -> logger: must be one of
d ~dataset                                  -> dataset: must be one of
d hydra.run.dir=                            -> hydra.run.dir=: is empty
d "hydra.run.dir=' '"                       -> is empty
d "hydra.run.dir='a\\${{b}}'"                  -> whose name contains ${{; rename the folder
d hydra.run.dir=.                           -> hydra.run.dir=.: holds other things (leaves.py); use
m hydra.sweep.dir=. seed=0,1                -> hydra.sweep.dir=.: holds other things (leaves.py); use
d 'resume=a${{b}}'                            -> whose name contains ${{; rename the folder
1 d hydra.run.dir={"x" * 300}                 -> File name too long
d resume=                                   -> resume=: is empty
d resume=nowhere                            -> no run was started here
1 d resume=odd.py                           -> odd.py
d sweep.resume=                             -> sweep.resume=: is empty
d sweep.resume=nowhere                      -> not the folder of a multirun
m sweep.resume= seed=0,1                    -> sweep.resume=: is empty
m seed=range(0,0)                           -> seed=range(0,0): has no values to sweep over
m seed=range(3,0)                           -> seed=range(3,0): has no values to sweep over
m seed=range(0,1000000000)                  -> the multirun would have 1000000000 jobs, and 10000 are allowed
m seed=shuffle(range(0,1000000000))         -> the multirun would have 1000000000 jobs
m distilled.learning_rate=range(0,1,1e-9)   -> the multirun would have 1000000000 jobs
m seed=range(100) distilled.epochs=range(1,102) -> the multirun would have 10100 jobs
m seed=range(0,inf)                         -> must have finite ends
m seed=range(0,nan)                         -> must have finite ends
m seed=range(0,3,0)                         -> a step other than 0
m seed=choice()                             -> empty choice is not legal
m seed=interval(0,1)                        -> only a search can use an interval
m dataset=glob(z*)                          -> dataset=glob(z*): has no values to sweep over
m seed=                                     -> seed: Value ''
m seed=0,x                                  -> seed: Value 'x'
m distilled.steps=1,0                       -> distilled.steps=0: must be greater than 0
m distilled.stepz=1,2                       -> distilled.stepz: no such key; did you mean steps?
m dataset=digits,imagenet                   -> dataset=imagenet: must be one of
m {IMPORTED}:one,{IMPORTED.rpartition("=")[2]}:nothing -> has no nothing
m +zzz=1,2                                  -> zzz=1: no such key
m init=pretrained evaluation.networks=1,9 init.held_out=2 -> init.held_out=2: evaluation needs 9 networks
m hydra.sweep.subdir=same seed=0,1          -> must be ${{hydra.job.num}}, by which jobs are found
m hydra.sweep.dir= seed=0,1                 -> hydra.sweep.dir=: is empty
m hydra/launcher=joblib hydra.launcher.n_jobs=1000000000 seed=range(0,9000) -> GB for 9000 processes, and
m hydra.sweeper.params={{seed:1}}             -> hydra.sweeper.params
m hydra.launcher=null seed=0,1              -> hydra.launcher=null: has no keys; use hydra/launcher=basic
m hydra.launcher=abc seed=0,1                -> hydra.launcher=abc: has no keys
m hydra.sweeper.max_batch_size=0 seed=0,1   -> hydra.sweeper.max_batch_size=0: must be from 1 to
m {JOBLIB}.backend=nonsense seed=0,1         -> hydra.launcher.backend=nonsense: must be loky
m {JOBLIB}.prefer=threads seed=0,1           -> hydra.launcher.prefer=threads: must be processes
m {JOBLIB}.require=sharedmem seed=0,1        -> hydra.launcher.require=sharedmem: must be null
m {JOBLIB}.n_jobs=0 seed=0,1                 -> hydra.launcher.n_jobs=0: must be a number of processes
m {JOBLIB}.pre_dispatch=some seed=0,1        -> hydra.launcher.pre_dispatch=some: must be all, a number
m {JOBLIB}.batch_size=0 seed=0,1             -> hydra.launcher.batch_size=0: must be auto
m {JOBLIB}.max_nbytes=big seed=0,1           -> hydra.launcher.max_nbytes=big: must be such as
m {JOBLIB}.mmap_mode=x seed=0,1              -> hydra.launcher.mmap_mode=x: must be one of
m {JOBLIB}.timeout=nan seed=0,1              -> hydra.launcher.timeout=nan: must be from 1 to
m {JOBLIB}.verbose=-1 seed=0,1               -> hydra.launcher.verbose=-1: must be from 0 to
m {JOBLIB}.temp_folder= seed=0,1             -> hydra.launcher.temp_folder=: is empty
m {LOCAL}.cpus_per_task=-1 seed=0,1          -> hydra.launcher.cpus_per_task=-1: must be from 1 to
m {LOCAL}.timeout_min=0 seed=0,1             -> hydra.launcher.timeout_min=0: must be from 1 to
m {LOCAL}.nodes=2 seed=0,1                   -> hydra.launcher.nodes=2: must be 1
m {LOCAL}.tasks_per_node=0 seed=0,1          -> hydra.launcher.tasks_per_node=0: must be 1
m {LOCAL}.name= seed=0,1                     -> hydra.launcher.name=: is empty
m {LOCAL}.submitit_folder=x seed=0,1         -> hydra.launcher.submitit_folder=x: must be
m {LOCAL}.name=x seed=range(0,9999)          -> hydra/launcher=submitit_local: needs
m {SLURM}.gpus_per_node=-1 seed=0,1          -> hydra.launcher.gpus_per_node=-1: must be from 0 to
m {SLURM}.array_parallelism=0 seed=0,1       -> hydra.launcher.array_parallelism=0: must be from 1 to
m {SLURM}.max_num_timeout=-1 seed=0,1        -> hydra.launcher.max_num_timeout=-1: must be from 0 to
m {SLURM}.mem_per_cpu=much seed=0,1          -> hydra.launcher.mem_per_cpu=much: must be such as
m {SLURM}.timeout_min=2 seed=0,1             -> hydra.launcher.signal_delay_s=120: must be less than
m {OPTUNA}.n_trials=0 seed=0,1               -> hydra.sweeper.n_trials=0: must be from 1 to
m {OPTUNA}.n_jobs=0 seed=0,1                 -> hydra.sweeper.n_jobs=0: must be from 1 to
m {OPTUNA}.n_trials=1 seed=3 seed=0,1        -> seed=3: is searched over as well; leave one of them out
m {OPTUNA}.direction=up seed=0,1             -> hydra.sweeper.direction=up: must be minimize or
m {OPTUNA}.max_failure_rate=2 seed=0,1       -> hydra.sweeper.max_failure_rate=2.0: must be from 0 to 1
m {OPTUNA}.sampler.n_startup_trials=-2 seed=0,1 -> sampler.n_startup_trials=-2: must be from 0 to
m hydra/launcher=slum seed=0,1              -> hydra/launcher=slum: must be one of
m hydra/sweeper=zzz seed=0,1                -> hydra/sweeper=zzz: must be one of
p init=random                               -> there is nothing to train
p init=pretrained init.pretraining.folder=  -> init.pretraining.folder=: is empty
p init=pretrained init.pool_size=0          -> init.pool_size=0: must be greater than 0
p init=pretrained dataset=digits init.pretraining.batch_size=5000 -> digits has 1293 images to train on
p dataset=imagenet                          -> dataset=imagenet: must be one of
p seed=1,2 init=pretrained                  -> seed
e artifact=                                 -> artifact=: is empty
e artifact= baselines=all                   -> artifact=: is empty
e dataset=digits                            -> there is nothing to evaluate
e dataset=digits baselines=nonsense         -> evaluation.baselines=nonsense: must be one of
e dataset=digits baselines=all evaluation.networks=0 -> must be greater than 0 to evaluate
e dataset=digits baselines=all training.batch_size=5 -> set training.learning_rate too
e dataset=digits baselines=random_real training=dc training.augmentation=dsa -> training.augmentation=dsa;
e dataset=digits baselines=random_real training.optimizer=adam -> +inner_optimizer@training.optimizer=adam
e artifact=a,b                              -> must be one file
e artifact=nowhere                          -> nowhere
1 e artifact=odd.py                         -> odd.py
s                                           -> the following arguments are required: sweep
s nowhere                                   -> nowhere: no such folder
s . --zzz                                   -> unrecognized arguments: --zzz
r                                           -> the following arguments are required: folders
r nowhere                                   -> nowhere: no such folder
r . --output                                -> argument --output: expected one argument
1 r .                                         -> neither a run nor a multirun
m sweep.resume=x hydra.sweep.dir=y seed=0,1  -> sweep.resume=x: a multirun goes on in its own folder
i odd.py --dataset digits --output x.safetensors --learning-rate 1e300 -> --learning-rate=1e+300: must be 0
i                                           -> FILE: is missing; name the file or the folder of the set
"""

#: Command lines whose error is in what the user's code or files hold: exit code 1, and the run says so.
FAILED = f"""
d {IMPORTED}:leaves       -> raised SystemExit: 0
d {IMPORTED}:presses      -> odd:presses raised KeyboardInterrupt
d {IMPORTED}:number       -> odd:number raised TypeError
d {IMPORTED}:far          -> the highest label is 1000000000000, and there are 16 images
d {IMPORTED}:one          -> only one class, '0'
d {IMPORTED}:no_test      -> class '2' has no test image
d {IMPORTED}:no_train     -> class '1' has no train image
d {IMPORTED}:empty        -> no train images
d {IMPORTED}:two {LEAVES} -> the run was ended by sys.exit(0)
d architecture=imported architecture.path=odd:leaves -> raised SystemExit: 0
"""

#: Those that run to the end: exit code 0.
FINISHED = """
d seed=-1
d seed=1000000000000000000000
d ~seed
d seed=1 seed=2
d hydra.output_subdir=null
d distilled={steps:1}
d evaluation.networks=0 trainer.memory=ignore
m seed=5
m seed=1,1
m seed=shuffle(0,1,2)
m hydra.output_subdir=null seed=0,1
m hydra.sweep.dir=x/y/z seed=sort(2,1)
"""


def listed(lines: str, code: int) -> list[tuple[str, str, int]]:
    """(command, what is said, exit code) of each line."""
    found = []
    for line in lines.strip().splitlines():
        command, _, told = line.partition(" -> ")
        first, _, rest = command.strip().partition(" ")
        found.append(
            (rest, told.strip(), int(first)) if first.isdigit() else (command.strip(), told.strip(), code)
        )
    return found


def typed(command: str, folder: Path) -> Ended:
    """Type a line of the lists in a folder with the user's code."""
    for word, plugin in PLUGINS.items():
        if word in command:
            pytest.importorskip(f"hydra_plugins.hydra_{plugin}")
    (folder / "odd.py").write_text(CODE)
    (folder / "leaves.py").write_text("raise SystemExit(0)\n")
    program, *arguments = shlex.split(command)
    if program in PROGRAMS:
        return PROGRAMS[program](*arguments, folder=folder)
    return distill(*(["-m"] if program == "m" else []), *TINY, *arguments, folder=folder)


def left(folder: Path) -> list[str]:
    return sorted({path.name for path in folder.iterdir()} - {"odd.py", "leaves.py", "__pycache__"})


def refused(command: str, told: str, code: int, folder: Path) -> None:
    ended = typed(command, folder)
    assert (ended.code, ended.out) == (code, ""), ended
    assert told in ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert left(folder) == []


REFUSALS = listed(REFUSED, code=2)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "told", "code"), REFUSALS, ids=[command for command, *_ in REFUSALS])
def test_a_command_line_that_cannot_run_is_refused(
    command: str, told: str, code: int, tmp_path: Path
) -> None:
    refused(command, told, code, tmp_path)


@pytest.mark.parametrize(("command", "told", "code"), REFUSALS[::24])
def test_a_sample_of_these(command: str, told: str, code: int, tmp_path: Path) -> None:
    refused(command, told, code, tmp_path)


@pytest.mark.parametrize(("command", "told", "code"), listed(FAILED, code=1))
def test_an_error_of_the_users_code_is_the_runs(command: str, told: str, code: int, tmp_path: Path) -> None:
    ended = typed(f"{command} evaluation.networks=0", tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1), ended
    assert told in ended.err
    [result] = tmp_path.glob("outputs/*/*/result.json")
    assert '"status": "failed"' in result.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("command", FINISHED.strip().splitlines())
def test_a_command_line_that_is_odd_and_right(command: str, tmp_path: Path) -> None:
    ended = typed(command, tmp_path)
    assert ended.code == 0, ended
    assert "missing" not in ended.out
    jobs = {"m seed=shuffle(0,1,2)": 3, "m seed=5": 1}.get(command, 2)
    assert ended.err.count("] finished: ") == (jobs if command.startswith("m ") else 1)


def test_there_are_enough_of_them() -> None:
    assert len({command for command, *_ in REFUSALS}) == len(REFUSALS) >= 150


# --- every count of every choice ---


def counts(kind: type, prefix: str) -> Iterator[tuple[str, dataclasses.Field[object]]]:
    """(key, field) of each whole number in a dataclass of options."""
    for field in dataclasses.fields(kind):
        if field.type in ("int", "int | None"):
            yield f"{prefix}.{field.name}", field
        elif isinstance(field.default_factory, type) and dataclasses.is_dataclass(field.default_factory):
            yield from counts(field.default_factory, f"{prefix}.{field.name}".removeprefix("."))


COUNTS = [
    (f"{group}={kind.__module__.rpartition('.')[2]}", key, field)
    for group in GROUPS
    for kind in kinds_of(group)
    if kind.__module__.rpartition(".")[2] in choices(group)
    for key, field in counts(kind, group)
] + [("", key.removeprefix("."), field) for key, field in counts(Evaluate, "")]
#: Whole numbers that count nothing, or that have a check of their own.
OTHERS = {"seed", "init.pretraining.seed", "dataset.split_seed", "dataset.channels"}
BOUNDED = [(choice, key, field) for choice, key, field in COUNTS if key not in OTHERS]


@pytest.mark.parametrize(("choice", "key", "field"), BOUNDED)
def test_every_count_has_limits(choice: str, key: str, field: dataclasses.Field[object]) -> None:
    assert "count" in field.metadata, f"{choice} {key}: use `count` of errors.py"
    least, most = field.metadata["count"]
    assert least in (0, 1)
    assert most < 10**9


NEEDED = {
    "dataset=image_folder": "dataset.path=. architecture=linear",
    "dataset=huggingface": "dataset.path=. architecture=linear",
    "dataset=imported": f"{IMPORTED}:one",
    "dataset=linear_regression": LINEAR,
    "dataset=torchvision": f"{TORCHVISION}=FashionMNIST",
    "dataset=cub200": "architecture=linear",
    "dataset=voc2007": "architecture=linear",
    "architecture=torchvision": "architecture.name=resnet18 dataset.channels=3",
    "architecture=imported": "architecture.path=odd:Leaves",
    "init=checkpoint": "init.path=odd.py",
}


def count_lines() -> Iterator[tuple[str, str]]:
    """(command, key=value) of each count with a value that is not allowed."""
    for choice, key, field in BOUNDED:
        program = "e dataset=digits baselines=random_real" if key.startswith("training.") else "d"
        for value in (*MANY, 0)[: 4 if field.metadata["count"][0] else 3]:
            yield (
                " ".join([program, choice, NEEDED.get(choice, ""), f"{key}={value}"]),
                f"{key}={value}: must be",
            )


LINES = list(count_lines())


@pytest.mark.slow
@pytest.mark.parametrize(("command", "told"), LINES)
def test_a_count_out_of_its_limits_is_refused(command: str, told: str, tmp_path: Path) -> None:
    refused(command, told, 2, tmp_path)


@pytest.mark.parametrize(("command", "told"), LINES[:: len(LINES) // 8])
def test_a_sample_of_the_counts(command: str, told: str, tmp_path: Path) -> None:
    refused(command, told, 2, tmp_path)


def test_a_count_is_a_field_with_limits() -> None:
    assert count(3, most=5).metadata["count"] == (1, 5)
