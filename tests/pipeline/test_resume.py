"""A run that is stopped in any way goes on, and ends with the bits of one that never was."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from dataset_distillation import load_distilled
from dataset_distillation.cli import job
from dataset_distillation.errors import ConfigError, UserError
from dataset_distillation.experiment import compose
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer import checkpoints
from dataset_distillation.outer.checkpoints import newest, step_of
from dataset_distillation.outer.fit import Fitted, Store, fit
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.outer.module import DistillationModule
from dataset_distillation.pipeline import distill as pipeline
from dataset_distillation.pipeline.prepare import keys_of, prepare
from dataset_distillation.run import heartbeat
from dataset_distillation.run.history import History
from dataset_distillation.run.interruption import interruptible
from dataset_distillation.run.provenance import Code
from dataset_distillation.run.records import Status, save
from dataset_distillation.run.run import Run
from support.command_line import Ended, distill_evaluate
from support.command_line import distill as type_in
from support.experiments import TINY, module_of
from support.folders import digest, result_of
from support.preemption import KILLED, PHASES, Children, Moment
from support.waiting import DEADLINE, eventually

COMMAND = Path(sys.executable).with_name("distill")
OPTIONS = [
    "architecture=mlp", "outer.steps=48", "evaluation.validation_every=7",
    "trainer.checkpoint_seconds=0",
]  # fmt: skip
STEPS = 10
SHORT = [
    *TINY, "architecture=mlp", f"outer.steps={STEPS}", "evaluation.validation_every=3", "hydra.run.dir=run",
]  # fmt: skip
Make = Callable[..., Experiment]


def table(folder: Path) -> list[dict[str, Any]]:
    """The evaluation, without the time that it took."""
    return [{**row, "seconds": None} for row in result_of(folder)["evaluation"]]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Repeated(NamedTuple):
    """The same run, as often as it is asked for, in any folder."""

    children: Children
    experiment: Experiment
    like: Run

    def __call__(self, folder: Path, moment: Moment | None = None) -> tuple[int, str]:
        folder.mkdir(exist_ok=True)
        return self.children.run(self.experiment, replace(self.like, folder=folder), moment)


@pytest.fixture(scope="module")
def repeated(composed: Callable[[list[str]], DictConfig]) -> Repeated:
    asked = composed([*TINY, *OPTIONS])
    choices = dict.fromkeys(compose.GROUPS, "sgd")
    resolved: Any = OmegaConf.to_container(asked, resolve=True)
    return Repeated(
        Children(), compose.read(asked), Run(Path(), resolved, choices, OPTIONS, code=Code("a" * 40))
    )


@pytest.fixture(scope="module")
def uninterrupted(repeated: Repeated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert repeated(folder) == (0, "evaluation")
    return folder


def moments(number: int) -> list[Moment]:
    """Random ones before training, in a step, a checkpoint, a validation; two in the evaluation."""
    draw = random.Random(8)
    counts = {"start": 1, "step": 3, "checkpoint": 3, "validation": 1, "evaluation": 1}
    seconds = {"start": 0.5, "step": 0.01, "checkpoint": 0.02, "validation": 0.01, "evaluation": 0.01}
    phases = [*draw.choices(PHASES[:-1], (2, 5, 8, 3), k=number), "evaluation", "evaluation"]
    return [Moment(p, draw.randint(1, counts[p]), draw.uniform(0, seconds[p])) for p in phases]


@pytest.mark.slow
def test_killed_at_random_moments(uninterrupted: Path, repeated: Repeated, tmp_path: Path) -> None:
    ends, torn = [], 0
    for moment in moments(22):
        ends.append(repeated(tmp_path, moment))
        torn += any(tmp_path.glob("checkpoints/.step_*"))  # written beside, and never renamed
    assert [code for code, _ in ends] == [KILLED] * 24
    phases = [phase for _, phase in ends]
    assert set(phases) == set(PHASES)
    assert torn
    assert repeated(tmp_path) == (0, "evaluation")
    assert not list(tmp_path.glob("checkpoints/.*"))
    assert digest(tmp_path) == digest(uninterrupted)
    assert (tmp_path / "history.csv").read_bytes() == (uninterrupted / "history.csv").read_bytes()
    assert table(tmp_path) == table(uninterrupted)
    for key in ("validation_accuracy", "outer_steps", "skipped_steps"):
        assert result_of(tmp_path)[key] == result_of(uninterrupted)[key]
    attempts = result_of(tmp_path)["provenance"]["attempts"]
    assert {attempt["end"] for attempt in attempts[:-1]} == {None}
    # One that was killed before it could say so is not known.
    assert 25 - phases.count("start") <= len(attempts) <= 25


class Recorder(pl.loggers.Logger):
    """Rows as they were logged: (step, metrics)."""

    name, version = "recorder", ""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, metrics))


def signal_at(monkeypatch: pytest.MonkeyPatch, where: str, step: int, *signals: signal.Signals) -> None:
    """Send `signals` within `where`, a method of the module, at outer `step`; once."""
    function, left = getattr(DistillationModule, where), list(signals)

    def call(module: DistillationModule, *arguments: Any) -> Any:
        if module.global_step == step:
            while left:
                os.kill(os.getpid(), left.pop())
        return function(module, *arguments)

    monkeypatch.setattr(DistillationModule, where, call)


class Distilling(NamedTuple):
    outcome: Fitted
    state: dict[str, Tensor]
    rows: list[Any]


def distilling(experiment: Experiment, folder: Path) -> Distilling:
    """The outer optimisation alone, from the last checkpoint in `folder`."""
    module, recorder = module_of(experiment), Recorder()
    checkpoints, keys = folder / "checkpoints", keys_of(experiment, module.problem)
    last = newest(checkpoints, keys)
    curves = [recorder, History(folder, step_of(last))]
    with interruptible():
        outcome = fit(module, experiment.trainer, store=Store(checkpoints, keys[0], last), curves=curves)
    return Distilling(outcome, module.state_dict(), recorder.rows)


def test_stopped_after_any_step_nothing_shifts(
    experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validations, logged rows, the choice of the best, and all bits: as if it had not been stopped."""
    # At such a rate the best is not the last.
    e = experiment(*SHORT[len(TINY) : -1], "init.networks=2", "outer.learning_rate=0.5")
    whole = distilling(e, tmp_path / "whole")
    assert [step for step, row in whole.rows if "validation/accuracy" in row] == [2, 5, 8, 9]
    stops = [("training_step", step) for step in range(STEPS)]
    for where, step in [*stops, ("validation_step", 3), ("validation_step", STEPS)]:
        folder = tmp_path / f"{where}_{step}"
        with monkeypatch.context() as patch:
            signal_at(patch, where, step, signal.SIGTERM)
            first = distilling(e, folder)
        assert first.outcome.signal == "SIGTERM"
        assert first.outcome.outer_steps == step + (where == "training_step")
        second = distilling(e, folder)
        assert first.rows + second.rows == whole.rows
        assert (folder / "history.csv").read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()
        assert second.outcome.signal is None
        assert second.outcome.validation == whole.outcome.validation
        assert all(torch.equal(tensor, whole.state[name]) for name, tensor in second.state.items())


def test_skipped_steps_are_counted_over_all_attempts(
    experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = OuterLoss.__call__

    def diverge(outer_loss: OuterLoss, population: Any, step: int, real: Any) -> Tensor:
        return loss(outer_loss, population, step, real) * (torch.nan if step in (3, 4, 6) else 1)

    monkeypatch.setattr(OuterLoss, "__call__", diverge)
    e = experiment(*SHORT[len(TINY) : -1], "outer.max_skipped=3")
    signal_at(monkeypatch, "training_step", 3, signal.SIGTERM)
    assert distilling(e, tmp_path).outcome.skipped_steps == 1
    assert distilling(e, tmp_path).outcome.skipped_steps == 3


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unstopped")
    assert type_in(*SHORT, folder=folder).code == 0
    return folder / "run"


def stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, how: signal.Signals = signal.SIGTERM
) -> Ended:
    """The command of `unstopped`, stopped after five outer steps."""
    with monkeypatch.context() as patch:
        signal_at(patch, "training_step", 4, how)
        return type_in(*SHORT, *options, folder=folder)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 75),
        *(pytest.param(how, 75, marks=pytest.mark.slow) for how in (signal.SIGUSR1, signal.SIGUSR2)),
    ],
)
def test_a_signal_saves_and_the_same_command_goes_on(
    how: signal.Signals, code: int, unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(how)
    ended = stopped(tmp_path, monkeypatch, how=how)
    assert signal.getsignal(how) == before
    assert ended.code == code
    assert ended.err.splitlines()[-1].endswith(
        f"interrupted ({how.name}); to resume: distill resume={tmp_path / 'run'}"
    )
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000005.ckpt"]
    assert result_of(tmp_path / "run")["status"] == "interrupted"
    assert load_distilled(tmp_path / "run" / "distilled.safetensors").images.isfinite().all()
    ended = type_in(*SHORT, folder=tmp_path)
    assert ended.code == 0, ended.err
    assert "resuming after outer step 5 of 10" in ended.err
    assert digest(tmp_path / "run") == digest(unstopped)
    assert table(tmp_path / "run") == table(unstopped)


def test_a_second_signal_does_not_wait_for_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal_at(monkeypatch, "training_step", 4, signal.SIGINT, signal.SIGINT)
    monkeypatch.setattr(checkpoints, "TOGETHER", 0.0)  # they do not come from one key stroke
    assert type_in(*SHORT, folder=tmp_path).code == 130
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_a_signal_that_is_received_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal_at(monkeypatch, "training_step", 4, signal.SIGINT, signal.SIGINT)
    assert type_in(*SHORT, folder=tmp_path).code == 130
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000005.ckpt"]


def test_who_listens_already_decides_after_the_checkpoint(
    unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As submitit does: at SIGTERM it waits, at SIGUSR2 it queues the job again and leaves."""
    heard = []

    def wait(signum: int, _: Any) -> None:
        heard.append((signum, [path.name for path in tmp_path.glob("run/checkpoints/*")]))

    def leave(signum: int, frame: Any) -> None:
        wait(signum, frame)
        sys.exit(-1)

    before = [signal.signal(signal.SIGTERM, wait), signal.signal(signal.SIGUSR2, leave)]
    try:
        signal_at(monkeypatch, "training_step", 2, signal.SIGTERM)
        assert stopped(tmp_path, monkeypatch, how=signal.SIGUSR2).code == -1
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGUSR2, before[1])
    assert heard == [
        (signal.SIGTERM, ["step_00000003.ckpt"]),
        (signal.SIGUSR2, ["step_00000003.ckpt", "step_00000005.ckpt"]),
    ]
    assert type_in(*SHORT, folder=tmp_path).code == 0
    assert digest(tmp_path / "run") == digest(unstopped)


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(
    damaged: int, unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stopped(tmp_path, monkeypatch, "trainer.checkpoint_seconds=0").code == 75
    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir(), reverse=True)
    assert [step_of(path) for path in checkpoints] == [5, 4]
    whole = checkpoints[0].read_bytes()
    torn = [whole[: len(whole) // 2], bytes([*whole[:1000], whole[1000] ^ 1, *whole[1001:]])]
    for path, content in zip(checkpoints[:damaged], torn, strict=False):
        path.write_bytes(content)
    ended = type_in(*SHORT, "trainer.checkpoint_seconds=0", folder=tmp_path)
    assert ended.code == 0
    assert ended.err.count("not a checkpoint, or damaged") == damaged
    assert ("resuming after outer step 4 of 10" in ended.err) == (damaged == 1)
    ours, theirs = (load_distilled(f / "distilled.safetensors") for f in (tmp_path / "run", unstopped))
    assert torch.equal(ours.images, theirs.images)
    assert torch.equal(ours.learning_rates, theirs.learning_rates)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"checksum": Evil()}, tmp_path / "plain")
    plain = (tmp_path / "plain").read_bytes()
    (tmp_path / "step_00000001.ckpt").write_bytes(plain + hashlib.sha256(plain).digest())
    assert newest(tmp_path, []) is None
    assert not (tmp_path / "owned").exists()


def test_another_configuration_is_refused_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path, monkeypatch)
    before = content(tmp_path)
    ended = type_in(*SHORT, "seed=1", "distilled.epochs=2", folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "run holds another run: distilled.epochs=2 (it has 1), seed=1 (it has 0)" in ended.err
    ended = type_in(f"resume={tmp_path / 'run'}", "seed=1", folder=tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "the run keeps its arguments; leave out seed=1" in ended.err
    assert content(tmp_path) == before


def test_another_choice_is_refused_though_its_values_are_the_same(unstopped: Path, tmp_path: Path) -> None:
    copy = tmp_path / "older" / "run"
    shutil.copytree(unstopped, copy)
    record = json.loads((copy / "run.json").read_text())
    assert record.pop("choices")["init"] == "random"
    (copy / "run.json").write_text(json.dumps(record))  # as before it had choices
    for folder in (unstopped, copy):
        before = content(folder)
        ended = type_in(*SHORT, "init=fixed", "augmentation=flip_rotate", folder=folder.parent)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        told = "holds another run: init=fixed (it has random), augmentation=flip_rotate (it has none); use"
        assert told in ended.err
        assert content(folder) == before
    ended = type_in(*SHORT, folder=copy.parent)
    assert (ended.code, "finished already" in ended.err) == (0, True)


def test_a_run_that_left_nothing_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise UserError("no data here")

    with monkeypatch.context() as patch:
        patch.setattr("dataset_distillation.pipeline.distill.prepare", broken)
        assert type_in(*SHORT, folder=tmp_path).code == 1
    assert type_in(*SHORT, "seed=1", folder=tmp_path).code == 0
    assert len(result_of(tmp_path / "run")["provenance"]["attempts"]) == 1


def test_other_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path, monkeypatch)

    def changed(e: Experiment) -> Any:
        problem = prepare(e)
        return replace(problem, data=replace(problem.data, checksum="0" * 64))

    monkeypatch.setattr(pipeline, "prepare", changed)
    before = digest(tmp_path / "run")
    ended = type_in(*SHORT, folder=tmp_path)
    assert ended.code == 1
    assert "the data, the weights of θ0 or the code of your network have changed since" in ended.err
    assert digest(tmp_path / "run") == before


def test_other_weights_in_the_same_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: Make
) -> None:
    problem, file = prepare(experiment("architecture=mlp")), tmp_path / "weights.pth"
    options = ["init=checkpoint", f"init.path={file}"]
    torch.save(problem.origin.draw("these"), file)
    stopped(tmp_path, monkeypatch, *options)
    torch.save(problem.origin.draw("others"), file)
    ended = type_in(*SHORT, *options, folder=tmp_path)
    assert ended.code == 1
    assert "the weights of θ0 or the code of your network have changed since" in ended.err


def test_another_code_of_your_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be trained on from the other's images, and one table would be about two networks."""
    code = "from torch import nn\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    options = ["architecture=imported", "architecture.path=own.py:net"]
    (tmp_path / "own.py").write_text(code)
    stopped(tmp_path, monkeypatch, *options)
    (tmp_path / "own.py").write_text(f"{code}TWO = 2\n")
    ended = type_in(*SHORT, *options, folder=tmp_path)
    assert ended.code == 1
    assert "the code of your network have changed since the run started" in ended.err
    (tmp_path / "own.py").write_text(f"{code}# a comment changes nothing\n")
    assert type_in(*SHORT, *options, folder=tmp_path).code == 0


def test_a_refused_run_leaves_what_another_has_begun_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "step_00000001.ckpt"

    def meanwhile(*_: object) -> None:
        checkpoint.parent.mkdir()
        checkpoint.touch()
        raise ConfigError("run holds another run")

    monkeypatch.setattr(job, "check_folder", meanwhile)
    assert type_in(*SHORT, folder=tmp_path).code == 2
    assert checkpoint.exists()


def test_each_program_goes_on_with_its_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path, monkeypatch)
    before = digest(tmp_path / "run")
    alone = ("dataset=digits", "baselines=[random_real]", "hydra.run.dir=run")
    for typed, told in (
        (("resume=run",), f"a run of distill; type distill resume={tmp_path / 'run'}"),
        (alone, "run holds a run of distill; use another folder"),
    ):
        ended = distill_evaluate(*typed, folder=tmp_path)
        assert ended.code == 2
        assert told in ended.err
        assert digest(tmp_path / "run") == before


def signs_of_life(folder: Path, host: str, age: float = 0) -> None:
    life = {"updated": time.time() - age, "pid": os.getppid(), "host": host}
    save(Status(overrides=[], **life), folder / "status.json")


def test_a_folder_in_which_another_process_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LOST", DEADLINE)
    signs_of_life(tmp_path / "run", socket.gethostname())
    ended = type_in(*SHORT, folder=tmp_path)
    assert ended.code == 1
    [told] = ended.err.splitlines()
    assert f"process {os.getppid()} of {socket.gethostname()} runs there" in told
    assert not (tmp_path / "run" / "result.json").exists()


def test_of_another_machine_the_next_sign_of_life_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(heartbeat, "LOST", 20.0)
        signs_of_life(tmp_path, "another", age=18)
        assert heartbeat.process_of(tmp_path / "status.json", Status) is None  # it was killed
    monkeypatch.setattr(heartbeat, "LOST", DEADLINE)

    def meanwhile(happens: Callable[[], None]) -> None:
        """What happens when its last sign of life was read and the next one is waited for."""
        signs_of_life(tmp_path, "another", age=1)
        monkeypatch.setattr(heartbeat.log, "warning", lambda *_: happens())

    meanwhile((tmp_path / "status.json").unlink)
    assert heartbeat.process_of(tmp_path / "status.json", Status) is None
    assert not (tmp_path / "status.json").exists()
    meanwhile(lambda: signs_of_life(tmp_path, "another"))
    assert heartbeat.process_of(tmp_path / "status.json", Status) == f"process {os.getppid()} of another"


def test_a_finished_run_says_so_and_does_nothing(
    unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "distill", lambda *_: pytest.fail("once more"))
    before = content(unstopped)
    signs_of_life(unstopped, socket.gethostname(), age=2 * heartbeat.LOST)  # killed while it wrote its page
    ended = type_in(f"resume={unstopped}", folder=tmp_path)
    assert ended.code == 0
    assert "finished already" in ended.err
    assert not (unstopped / "status.json").exists()
    assert "distilled" in ended.out
    after = content(unstopped)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed <= {"distill.log", ".hydra/hydra.yaml"}


def test_an_interrupted_evaluation_is_all_that_is_done_again(
    unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(DEADLINE)  # which the signal ends

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "judge", interrupted)
        assert type_in(*SHORT, folder=tmp_path).code == 75
    assert result_of(tmp_path / "run")["status"] == "interrupted"
    monkeypatch.setattr(DistillationModule, "training_step", lambda *_: pytest.fail("one more step"))
    assert type_in(*SHORT, folder=tmp_path).code == 0
    assert digest(tmp_path / "run") == digest(unstopped)
    assert table(tmp_path / "run") == table(unstopped)


@pytest.mark.slow
def test_what_a_multirun_has_finished_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ["-m", *SHORT[:-1], "seed=0,1", "hydra.sweep.dir=pair"]
    run = pipeline.distill

    def interrupted(e: Experiment, job: Run) -> dict[str, Any]:
        if e.seed == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return run(e, job)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "distill", interrupted)
        assert type_in(*typed, folder=tmp_path).code == 75
    first = (tmp_path / "pair" / "0" / "result.json").read_bytes()
    ended = type_in(*typed, folder=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.err.count("finished already") == 1
    assert (tmp_path / "pair" / "0" / "result.json").read_bytes() == first
    assert result_of(tmp_path / "pair" / "1")["status"] == "finished"


def test_resume_where_no_run_began(tmp_path: Path) -> None:
    ended = type_in(f"resume={tmp_path}", folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "no run was started here" in ended.err
    for spoilt in ("no json", "[]", '{"cwd": 1}'):
        (tmp_path / "run.json").write_text(spoilt)
        ended = type_in(f"resume={tmp_path}", folder=tmp_path)
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "run.json: not what a run writes there, or damaged" in ended.err


@pytest.mark.slow
def test_from_a_shell(tmp_path: Path) -> None:
    """SIGTERM, then `resume=` typed elsewhere; as a run of its own in another folder."""
    # As many as take seconds: some are left when it is seen that the first are done, on a busy machine too.
    steps = 200
    typed = [*SHORT[:-1], f"outer.steps={steps}", "evaluation.validation_every=50"]
    typed += ["trainer.checkpoint_seconds=0.1", "evaluation.networks=0"]
    folder = tmp_path / "it's, a run"
    begun = [COMMAND, *typed, f"hydra.run.dir='{str(folder).replace(chr(39), chr(92) + chr(39))}'"]
    running = subprocess.Popen(begun, cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    def has_checkpoint() -> bool:
        assert running.poll() is None, running.communicate()
        return any(folder.glob("checkpoints/*.ckpt"))

    try:
        eventually(has_checkpoint)
        running.terminate()
        _, err = running.communicate(timeout=DEADLINE)
    finally:
        running.kill()
    assert running.returncode == 75, err
    assert 0 < result_of(folder)["outer_steps"] < steps
    (tmp_path / "elsewhere").mkdir()
    subprocess.run(
        [COMMAND, f"resume={folder}"],
        cwd=tmp_path / "elsewhere",
        check=True,
        capture_output=True,
        timeout=DEADLINE,
    )
    assert type_in(*typed, "hydra.run.dir=whole", folder=tmp_path).code == 0
    assert digest(folder) == digest(tmp_path / "whole")
    assert list((tmp_path / "elsewhere").iterdir()) == []
