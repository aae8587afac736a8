"""Several processes share the networks of one outer step, and distil what one process would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dataset_distillation import load_distilled
from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer import fit, memory
from dataset_distillation.pipeline import distill as pipeline
from dataset_distillation.pipeline.prepare import prepare
from dataset_distillation.run import processes
from dataset_distillation.run.attempts import Attempts
from dataset_distillation.run.fields import Engine
from dataset_distillation.run.run import Run
from dataset_distillation.unroll.full import Full
from support.command_line import distill
from support.experiments import TINY, module_of
from support.folders import result_of
from support.waiting import DEADLINE

Make = Callable[..., Experiment]
OPTIONS = [
    *TINY,
    "init.networks=4",
    "outer.steps=3",
    "evaluation.networks=0",
    "unroll.batch_networks=off",
]

#: What torchrun tells the first of two processes.
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "1",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "GROUP_RANK": "0",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize("begun", [True, False])
def test_a_helping_process_takes_the_engine_that_the_run_has_begun_with(
    begun: bool, experiment: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one that it would choose by itself now; without a checkpoint, the record may be another run's."""
    e, engines = experiment("unroll=auto"), []
    attempts = Attempts(run)
    attempts.record.engine = Engine(choice="full", compile=False)
    attempts.save(None)
    monkeypatch.setattr(pipeline, "newest", lambda *_: Path("step_00000001.ckpt") if begun else None)
    monkeypatch.setattr(pipeline, "fit", lambda module, *_, **__: engines.append(module.outer_loss.unroll))
    pipeline.assist(e, run)
    assert [isinstance(engine, Full) for engine in engines] == [begun]


@pytest.mark.slow
def test_two_processes_distil_what_one_does(tmp_path: Path) -> None:
    """Each takes two of the four networks; the clip holds for each network by itself and binds."""
    options = [*OPTIONS, "outer.clip=0.01"]
    assert distill(*options, "hydra.run.dir=one", folder=tmp_path).code == 0
    two = ["trainer.devices=2", "trainer.strategy=ddp", "hydra.run.dir=two"]
    command = [str(Path(sys.executable).parent / "distill"), *options, *two]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE
    )
    assert ended.returncode == 0, ended.stderr
    one, two = (load_distilled(tmp_path / name / "distilled.safetensors") for name in ("one", "two"))
    for name in ("images", "learning_rates"):
        torch.testing.assert_close(getattr(two, name), getattr(one, name), rtol=0, atol=1e-6)
    results = [result_of(tmp_path / name) for name in ("one", "two")]
    assert [result["status"] for result in results] == ["finished", "finished"]
    curves = [(tmp_path / name / "history.csv").read_text() for name in ("one", "two")]
    assert len(curves[0].splitlines()) == len(curves[1].splitlines())  # one process writes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.devices=2"], r"trainer.devices=2: each needs its own process; set trainer.strategy=ddp"),
        (
            ["trainer.devices=3", "trainer.strategy=ddp"],
            r"init.networks=4: must be a multiple of trainer.devices=3",
        ),
        (["trainer.devices=0"], r"trainer.devices=0: must be greater than 0"),
    ],
)
def test_what_cannot_be_shared_is_refused(options: list[str], message: str, experiment: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment("init.networks=4", *options)


@pytest.mark.parametrize("launched", [{}, TORCHRUN])
def test_a_multirun_is_refused(
    launched: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes that torchrun starts would each run all jobs."""
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    options = [*OPTIONS, "trainer.devices=2", "trainer.strategy=ddp", "seed=0,1"]
    ended = distill("-m", *options, folder=tmp_path)
    assert ended.code != 0
    assert "trainer.devices=2: in a multirun the launcher must start the processes" in ended.err + ended.out
    assert not list(tmp_path.glob("sweeps/**/distilled.safetensors"))


def test_tasks_of_slurm_that_may_lie_anywhere_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    with pytest.raises(ConfigError, match=r"trainer.devices=2: .*; use --ntasks-per-node=2"):
        processes.environment(2)


def test_the_distilled_data_are_made_on_the_device_of_the_network(
    experiment: Make,
) -> None:
    """Of a device that only has shapes: one step is measured there, before Lightning moves anything."""
    e = experiment("architecture=linear")
    problem = prepare(e)
    problem.network.to("meta")
    module = pipeline._module(e, problem, None)
    assert {parameter.device.type for parameter in module.distilled.parameters()} == {"meta"}
    sizes = memory.measure(module.outer_loss)
    assert not sizes.on_cpu
    assert sizes.step > 0


def test_augmented_images_have_no_deterministic_gradient_on_a_gpu(
    experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is loaded."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setattr("dataset_distillation.pipeline.prepare._device", lambda trainer: torch.device("cuda"))
    e = experiment("augmentation=shift_rotate", "trainer.deterministic=true")
    try:
        with pytest.raises(ConfigError, match="the gradient of augmented images has no"):
            prepare(e)
    finally:
        torch.use_deterministic_algorithms(False)


def test_deterministic_algorithms_are_chosen_run_by_run(experiment: Make) -> None:
    for chosen in (True, False):
        prepare(experiment(f"trainer.deterministic={chosen}"))
        assert torch.are_deterministic_algorithms_enabled() == chosen


@pytest.mark.parametrize(("device", "chosen"), [("cuda:1", [1]), ("cuda:0", 1), ("cuda", 1), ("cpu", 1)])
def test_lightning_takes_the_gpu_that_the_network_is_on(
    device: str, chosen: object, experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    e, asked = experiment(), {}
    module = module_of(e)
    monkeypatch.setattr(type(module.problem), "device", torch.device(device))
    monkeypatch.setattr("pytorch_lightning.Trainer", lambda **options: asked.update(options))
    fit._trainer(module, e.trainer, [], [])
    assert asked["devices"] == chosen
