"""What a user types, rightly and wrongly."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

from dataset_distillation import load_distilled
from dataset_distillation.cli import hydra_app, pages
from dataset_distillation.cli.resume import quoted
from dataset_distillation.errors import UserError
from dataset_distillation.files import write
from dataset_distillation.report import table
from support.command_line import (
    Ended,
    distill,
    distill_evaluate,
    distill_export,
    distill_import,
    distill_pretrain,
    distill_report,
    distill_status,
    only_run,
)
from support.experiments import CONF, TINY
from support.folders import result_of
from support.waiting import DEADLINE, eventually

CHOICES = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in CONF.iterdir()
    if list(folder.glob("*.yaml")) and folder.name != "wandb"
}
COMMAND = Path(sys.executable).with_name("distill")
PROGRAMS = sorted(p.name for p in entry_points(group="console_scripts") if p.name.startswith("distill"))


def completions(typed: str, folder: Path) -> list[str]:
    """What bash is offered for `distill <typed><tab>`."""
    line = f"distill {typed}"
    environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = [COMMAND, "-sc", "query=bash"]
    ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return ended.stdout.split()


def test_distill_alone_says_what_to_type_first(tmp_path: Path) -> None:
    ended = distill(folder=tmp_path)
    assert (ended.code, ended.err, list(tmp_path.iterdir())) == (0, "", [])
    assert ended.out.splitlines()[2] == "  distill experiment=demo"
    assert ended.out.endswith(distill("--help", folder=tmp_path).out)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (distill_evaluate, "artifact=null: there is nothing to evaluate; set its path, or baselines=all"),
        (distill_pretrain, "init: there is nothing to train; use init=pretrained"),
        (distill_import, "FILE: is missing"),
        (distill_export, "the following arguments are required"),
        (distill_report, "the following arguments are required"),
        (distill_status, "the following arguments are required"),
    ],
)
def test_other_programs_alone_say_what_they_need(
    program: Callable[..., Ended], told: str, tmp_path: Path
) -> None:
    ended = program(folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert told in ended.err


def test_help_lists_every_choice_of_every_group(tmp_path: Path) -> None:
    ended = distill("--help", folder=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    blocks = [block.splitlines() for block in ended.out.split("\n\n")]
    listed = {
        lines[0]: [line.split()[0] for line in lines[1:]] for lines in blocks if lines[0].strip() in CHOICES
    }
    assert listed == CHOICES
    assert max(map(len, ended.out.splitlines())) < 140
    examples = [line for line in ended.out.splitlines() if line.startswith("  distill ")]
    assert len(examples) == 3


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_says_its_version_and_that_it_does(program: str, tmp_path: Path) -> None:
    def said(question: str) -> str:
        command = [COMMAND.with_name(program), question]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert said("--version") == f"dataset-distillation {version('dataset-distillation')} ({program})\n"
    assert "--version" in said("--help")


@pytest.mark.parametrize("question", [["--help"], ["--cfg", "job"]])
def test_a_question_is_answered_without_importing_torch(question: list[str], tmp_path: Path) -> None:
    program = (
        "import sys\nfrom dataset_distillation.cli import distill\n"
        f"sys.argv = ['distill', *{question}]\n"
        "try:\n    distill()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'pytorch_lightning', 'wandb', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


def test_cfg_job_shows_every_key(tmp_path: Path) -> None:
    ended = distill("--cfg", "job", "seed=7", folder=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    shown = ended.out.splitlines()
    assert "seed: 7" in shown
    assert {f"{group}:" for group in ("distilled", "outer", "dataset")} <= set(shown)


def test_tab_completes_experiments_and_groups(tmp_path: Path) -> None:
    assert completions("experiment=", tmp_path) == [f"experiment={name}" for name in CHOICES["experiment"]]
    offered = completions("", tmp_path)
    assert not [word for word in offered if "schema" in word or "wandb" in word]
    assert {f"{group}=" for group in CHOICES if group != "experiment"} <= set(offered)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("distilled.steps=0", "distilled.steps=0: must be greater than 0"),
        ("distilled.stepz=3", "distilled.stepz: no such key; did you mean steps?"),
        ("distilled.steps=ten", "distilled.steps: Value 'ten'"),
        ("dataset=imagenet", "dataset=imagenet: must be one of cifar10, cub200, "),
        ("dataset=[digits]", "dataset: must be one of cifar10, cub200, "),
        ("dataset=null", "must be a string"),
        ("experiment=table_9", "experiment=table_9: must be one of ablation_mnist_convnet, "),
        ("architecture=alexcifarnet dataset=mnist", "dataset.image_size=28: architecture=alexcifarnet"),
        ("outer.learning_rate_of_rates=inf", "outer.learning_rate_of_rates=inf: must be a finite number"),
        ("dataset.mean=[nan]", "dataset.mean.0=nan: must be a finite number"),
        ("init.networks=-1", "init.networks=-1: must be greater than 0"),
        ("+distilled.foo=1", "distilled.foo=1: no such key; the keys are images_per_class, "),
        (
            "experiment=mnist_convnet_10 unroll=traced",
            "unroll.window: is set by experiment=mnist_convnet_1, but there is no such key in the "
            "chosen unroll; the keys are batch_networks, compile; choose another unroll, "
            "or correct the file\n",
        ),
        ("dataset=image_folder", "dataset.path=???: must be given on the command line"),
        ("dataset.name=${nothing}", "Interpolation key 'nothing' not found"),
        ("logger=wandb logger.mode=shared", "logger.mode=shared: must be one of offline, online"),
        ("distilled.steps=1,2", "add --multirun"),
        ("distilled", "distilled: values are given as key=value"),
    ],
)  # fmt: skip
def test_a_wrong_value_never_starts_a_run(typed: str, told: str, tmp_path: Path) -> None:
    ended = distill(*TINY, *typed.split(), folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("distill: ")
    assert told in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("distilled:\n  stepz: 3", "distilled.stepz: {}, but there is no such key; did you mean steps?"),
        ("seeed: 3", "seeed: {}, but there is no such key; did you mean seed?"),
        ("trees: 3", "trees: {}, but there is no such key; the keys are "),
    ],
)
def test_a_wrong_key_in_an_experiment_of_ones_own(written: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(f"# @package _global_\n{written}\n")
    ended = distill("--config-dir", str(tmp_path), "experiment=own", "dataset=digits", folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("distill: " + told.format("is set by experiment=own"))


def test_a_launcher_that_is_not_there(tmp_path: Path) -> None:
    ended = distill("-m", *TINY, "hydra/launcher=slum", "seed=0,1", folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "hydra/launcher=slum: must be one of basic, " in ended.err
    assert "slurm_cpu, slurm_gpu" in ended.err
    assert "pip install 'dataset-distillation[cluster]'" in ended.err


@pytest.mark.parametrize("typed", ["distilled.stepz=1,2", "dataset=digits,imagenet", "distilled.steps=1,x"])
def test_nor_a_multirun(typed: str, tmp_path: Path) -> None:
    ended = distill("-m", *TINY, typed, folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def folder_of_images(path: Path, classes: str) -> None:
    for name in classes:
        (path / name).mkdir(parents=True)
        for image in range(10):
            Image.new("RGB", (8, 8), (image, 0, 0)).save(path / name / f"{image}.png")


def one_class(path: Path) -> None:
    folder_of_images(path, "a")


def no_class(path: Path) -> None:
    path.mkdir()


def no_image(path: Path) -> None:
    for name in "ab":
        (path / name).mkdir(parents=True)


def corrupt_image(path: Path) -> None:
    folder_of_images(path, "ab")
    (path / "b" / "3.png").write_bytes((path / "b" / "2.png").read_bytes()[:40])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (one_class, "only one class folder, 'a'"),
        (no_class, "no class folder"),
        (no_image, "a: a class without images"),
        (corrupt_image, "cannot be read: not of a known format: b/3.png"),
    ],
)
def test_a_spoilt_folder_of_images_is_told_in_one_line(spoil: Any, told: str, tmp_path: Path) -> None:
    spoil(tmp_path / "images")
    arguments = ["dataset=image_folder", f"dataset.path={tmp_path / 'images'}", "architecture=convnet"]
    ended = distill(*TINY, *arguments, folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert told in ended.err
    result = result_of(only_run(tmp_path))
    assert result["status"] == "failed"
    assert told in result["error"]
    assert told in (only_run(tmp_path) / "distill.log").read_text()


@pytest.mark.parametrize("program", [distill_report, distill_status])
def test_a_folder_of_somebody_else_is_told_in_one_line(
    program: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "theirs")

    monkeypatch.setattr(pages, "pages", denied)
    monkeypatch.setattr(table, "show_status", denied)
    ended = program(str(tmp_path), folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.endswith("Permission denied: 'theirs'\n")


def test_an_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file in its place")
    ended = distill(*TINY, folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "outputs" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "kept", b"old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(UserError, match="kept: No space left on device"):
        write(tmp_path / "kept", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("kept", b"old")]


def test_a_disk_that_is_full_at_the_end_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        if Path(target).name not in started:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    replace, started = os.replace, {"config.yaml", "run.json", "uncommitted.diff"}
    monkeypatch.setattr(os, "replace", full)
    ended = distill(*TINY, folder=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    *began, told = ended.err.splitlines()
    assert "distilling digits into" in "".join(began)
    assert "No space left on device" in told
    left = {path.name for path in only_run(tmp_path).iterdir()}
    assert left - started - {"checkpoints"} == {".hydra", "distill.log"}


def test_an_unforeseen_error_is_logged_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("dataset_distillation.pipeline.distill.prepare", broken)
    ended = distill(*TINY, folder=tmp_path)
    assert ended.code == 1
    assert ended.err.count("Traceback") == 1
    assert ended.err == (only_run(tmp_path) / "distill.log").read_text()
    assert result_of(only_run(tmp_path))["error"] == "RuntimeError: a bug"


@pytest.mark.parametrize("asked", ["--help", "--version"], ids=["more than a buffer", "less"])
def test_a_reader_may_leave_early(asked: str, tmp_path: Path) -> None:
    """As `distill --help | head -1` does."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as output:
        ended = subprocess.run([COMMAND, asked], stdout=output, stderr=subprocess.PIPE, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("multirun", [(), ("-m", "seed=0,1")])
def test_a_check_that_fails_itself_lets_nothing_start(
    multirun: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("of our own")

    monkeypatch.setattr(hydra_app, "check_job", fails)
    ended = distill(*multirun, *TINY, folder=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.endswith("ZeroDivisionError: of our own\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_what_was_learned(tmp_path: Path) -> None:
    options = ["outer.steps=100000", "evaluation.validation_every=5", "trainer.checkpoint_seconds=0.5"]
    command = [COMMAND, *TINY, *options, "hydra.run.dir=run"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:

        def has_checkpoint() -> bool:
            assert running.poll() is None, running.communicate()
            return any((tmp_path / "run" / "checkpoints").glob("*.ckpt"))

        eventually(has_checkpoint)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=DEADLINE)
    finally:
        running.kill()
    assert running.returncode == 130
    assert out == ""
    *began, told = err.splitlines()
    assert "distilling digits into" in "".join(began)
    assert "interrupted" in told
    result = result_of(tmp_path / "run")
    assert result["status"] == "interrupted"
    assert 0 < result["outer_steps"] < 100000  # at least one, however slow the machine is
    distilled = load_distilled(tmp_path / "run" / "distilled.safetensors")
    assert torch.isfinite(distilled.images).all()
    assert not list((tmp_path / "run").rglob(".distilled*"))


def test_ctrl_c_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dataset_distillation.pipeline.distill.prepare", interrupted)
    ended = distill(*TINY, folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (130, "", 1)
    assert result_of(only_run(tmp_path))["status"] == "interrupted"


def test_a_text_file_is_no_distilled_set(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no artifact\n")
    with pytest.raises(UserError, match=r"notes\.txt: not a distilled dataset") as error:
        load_distilled(tmp_path / "notes.txt")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator here")
def test_an_accelerator_that_is_not_there(tmp_path: Path) -> None:
    ended = distill(*TINY, "trainer.accelerator=gpu", folder=tmp_path)
    assert ended.code == 2
    [told] = ended.err.splitlines()
    assert told.endswith("trainer.accelerator=gpu: this machine has none; use auto or cpu")


def test_a_folder_is_read_as_it_is_called_whatever_its_name() -> None:
    draw = random.Random(0)
    names = ["".join(draw.choices("\\'\"${}=, ab:#@~é[]()%\n", k=draw.randint(1, 9))) for _ in range(1000)]
    for name in [r"a\b", "a${b}", r"a\${b}", "a\\", "a\\'", "x=1,2", *names]:
        override = OverridesParser.create().parse_override(f"hydra.run.dir={quoted(name)}")
        assert OmegaConf.create({"dir": override.value()}).dir == name


@pytest.mark.parametrize("name", [r"a\b", "it's", "a b=c,d"])
def test_a_run_in_a_folder_with_an_odd_name_is_resumed(name: str, tmp_path: Path) -> None:
    options = ["evaluation.networks=0", "distilled.steps=1"]
    assert distill(*TINY, *options, f"hydra.run.dir={quoted(name)}", folder=tmp_path).code == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    ended = distill(f"resume={name}", folder=tmp_path)
    assert ended.code == 0
    assert "finished already" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("command", [["dataset.validation=0.001"], ["distilled.epochs=100000"]])
def test_a_run_that_is_refused_once_its_data_are_read_leaves_the_folder_as_it_was(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    ended = distill(*TINY, *command, "hydra.run.dir=mine/new/run", folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    (tmp_path / "mine" / "notes").write_text("of the user's own")
    assert distill(*TINY, *command, "hydra.run.dir=mine", folder=tmp_path).code == 2
    assert (tmp_path / "mine" / "notes").exists()
