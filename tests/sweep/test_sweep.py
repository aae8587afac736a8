"""A multirun: a folder a job, a table over all, and what becomes of a job that fails."""

from __future__ import annotations

import gc
import html
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas
import pytest

from dataset_distillation import load_distilled
from dataset_distillation.cli import hydra_app
from dataset_distillation.errors import UserError
from dataset_distillation.files import write, write_json
from dataset_distillation.pipeline import distill as pipeline
from dataset_distillation.report import table
from dataset_distillation.run import heartbeat
from dataset_distillation.run.heartbeat import Progress
from dataset_distillation.run.records import Result, Status, read
from dataset_distillation.sweep.jobs import jobs_of
from support.command_line import Ended, distill, distill_status
from support.experiments import TINY
from support.folders import result_of
from support.waiting import DEADLINE, eventually

#: Of a multirun that has ended long ago.
LIFE = {"updated": 0.0, "pid": 1, "host": "elsewhere"}

#: An error that no job has before it reads the data.
SHARE = "dataset.validation=0.001"
TOO_FEW = f"{SHARE}: cuts 2 of 1437 images: both parts need 10, one per class; set it to 0.01 or more"


Sweep = tuple[Ended, Path]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("sweep")
    swept = ["dataset.validation=0.1,0.001", "seed=3,4", "hydra.sweep.dir=grid"]
    return distill("-m", *TINY, *swept, folder=folder, pages=True), folder / "grid"


def test_a_job_that_fails_stops_no_other(sweep: Sweep) -> None:
    ended, folder = sweep
    assert ended.code == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "0",
        "1",
        "2",
        "3",
        "multirun.yaml",
        "report.html",
        "sweep.csv",
        "sweep.json",
        "sweep.md",
    ]
    assert [result_of(folder / job)["status"] for job in "0123"] == ["finished"] * 2 + ["failed"] * 2
    assert "Traceback" not in ended.err
    assert ended.out.splitlines()[0].strip() == "test accuracy, digits"  # of the first job
    assert "[HYDRA] Launching 4 jobs locally" in ended.err
    for job, seed in zip("23", "34", strict=True):
        assert (folder / job / "distill.log").read_text().endswith(f"] {TOO_FEW}\n")
        assert result_of(folder / job)["config"]["seed"] == int(seed)


def test_the_page_of_a_job_has_the_command_that_repeats_it_alone(sweep: Sweep, tmp_path: Path) -> None:
    job = sweep[1] / "1"
    [shown] = re.findall(r"<h2>Repeat it</h2>\s*<pre>(.*?)</pre>", (job / "report.html").read_text())
    program, *arguments = shlex.split(html.unescape(shown))
    assert program == "distill"
    ended = distill(*arguments, "hydra.run.dir=again", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert result_of(tmp_path / "again")["config"] == result_of(job)["config"]
    again, before = (result_of(folder)["evaluation"] for folder in (tmp_path / "again", job))
    assert [row["metrics"] for row in again] == [row["metrics"] for row in before]


def test_the_table_has_a_column_for_each_swept_key(sweep: Sweep) -> None:
    ended, folder = sweep
    rows = pandas.read_csv(folder / "sweep.csv")
    assert list(rows) == [
        "job", "dataset.validation", "seed", "status", "metric", "validation", "mean", "std", "min", "max",
        "seconds", "error",
    ]  # fmt: skip
    assert rows["dataset.validation"].tolist() == [0.1, 0.1, 0.001, 0.001]
    assert rows["seed"].tolist() == [3, 4, 3, 4]
    assert rows["error"].tolist()[2:] == [TOO_FEW] * 2
    for job in (0, 1):
        outcome = result_of(folder / str(job))
        assert rows["validation"][job] == outcome["validation_accuracy"]
        assert rows["mean"][job] == pytest.approx(outcome["evaluation"][1]["mean"])
    assert f"job 3: {TOO_FEW}" in ended.out.splitlines()
    assert len([line for line in ended.out.splitlines() if "│ finished │" in line]) == 2


def test_the_table_knows_what_became_of_each_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "LOST", DEADLINE)
    done = {
        "status": "finished",
        "metric": "accuracy",
        "evaluation": [],
        "outer_steps": 2,
        "config": {"outer": {"steps": 2}},
    }
    life = {"updated": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
    progress = {"step": 5, "steps": 20, "metric": "accuracy", "validation": 0.5, "steps_per_second": 2.0}
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    job = [["init=fixed", f"seed={seed}"] for seed in range(9)]

    def tell(file: str, content: dict[str, Any]) -> None:
        write_json(tmp_path / file, content)

    tell("sweep.json", {"launcher": "Basic", "jobs": job, "ended": False, **life})
    tell("0/result.json", {**done, "overrides": job[0]})
    tell("1/status.json", {**progress, **life, "overrides": job[1]})
    tell("1/result.json", {**done, "overrides": job[1]})  # of an earlier attempt
    tell("2/status.json", {**progress, **life, "overrides": job[2], "updated": time.time() - 2 * DEADLINE})
    tell("3/status.json", {**progress, **life, "overrides": job[3], "pid": int(killed.stdout)})
    tell("4/result.json", {**done, "overrides": ["seed=9"]})  # of another sweep in this folder
    write(tmp_path / "5" / "result.json", b'{"status": "fin')
    for number, steps in ((7, 2), (8, 3)):  # killed while its page was written, and while it was extended
        tell(f"{number}/result.json", {**done, "overrides": job[number]})
        dead = {**progress, **life, "overrides": job[number], "pid": int(killed.stdout)}
        tell(f"{number}/status.json", {**dead, "steps": steps})
    (tmp_path / "notes").mkdir()
    rows = table.sweep(tmp_path)
    states = ["finished", "running", "lost", "lost", "queued", "damaged", "queued", "finished", "lost"]
    assert rows["status"].tolist() == states
    assert rows["seed"].tolist() == list("012345678")
    assert "init" not in rows
    told = jobs_of(tmp_path)
    assert [job.seconds_left for job in told] == [None, 7.5, *[None] * 7]
    assert told[1].progress.validation == 0.5
    assert (
        (tmp_path / "sweep.md")
        .read_text()
        .splitlines()[3]
        .startswith("| 1 | 1 | running | accuracy | 50.00 % |")
    )
    tell("sweep.json", {"launcher": "Basic", "jobs": job, "ended": True, **life})
    assert [job.state for job in jobs_of(tmp_path)] == [s.replace("queued", "missing") for s in states]


def test_files_that_were_damaged_end_in_a_line_or_a_table(sweep: Sweep, tmp_path: Path) -> None:
    life = {"updated": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
    asked = json.loads((sweep[1] / "sweep.json").read_text())["jobs"]
    whole = {
        "sweep.json": {**json.loads((sweep[1] / "sweep.json").read_text()), "jobs": asked[:2]},
        "0/result.json": result_of(sweep[1] / "0"),
        "1/status.json": {"overrides": asked[1], **asdict(Progress(1, 2, "accuracy", 0.5, 1.0)), **life},
    }
    for file, content in whole.items():
        write_json(tmp_path / file, content)
    draw, ends = random.Random(0), []
    for file in whole:
        content = (tmp_path / file).read_bytes()
        for _ in range(100):
            changed = bytearray(content)
            for _ in range(draw.choice((1, 3, 20))):
                at = draw.randrange(len(changed))
                changed[at : at + draw.choice((0, 1, 8))] = draw.choice(
                    (b"", b"0", b'"', b"-", b"null", b"{}", b"9" * 30)
                )
            (tmp_path / file).write_bytes(changed)
            try:
                ends.append({job.state for job in jobs_of(tmp_path)} and table.show_sweep(tmp_path))
            except UserError as error:
                ends.append(str(error))
        (tmp_path / file).write_bytes(content)
    assert len(ends) == 300
    assert {type(end) for end in ends} == {bool, str}


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ["-m", "seed=3,5"],
            "its job 1 has seed=4, not seed=5; use the command that started it: distill -m seed",
        ),
        (
            ["-m", "seed=3"],
            "it has 2 jobs, not 1; use the command that started it: distill -m seed=3,4 sweep.res",
        ),
        (["-m", "seed=3,4", "objective=standard"], "its job 0 has no objective=standard; use"),
        (["seed=3"], "sweep.resume: resumes a multirun; add -m"),
    ],
)
def test_sweep_resume_takes_the_same_command_alone(typed: list[str], told: str, tmp_path: Path) -> None:
    swept = [override for override in TINY if "false" not in override]
    jobs = [[*swept, "seed=3"], [*swept, "seed=4"]]
    command = "distill -m seed=3,4 hydra.sweep.dir=there"
    write_json(tmp_path / "sweep.json", {**LIFE, "jobs": jobs, "command": command})
    before = (tmp_path / "sweep.json").read_bytes()
    ended = distill(*typed, *swept, f"sweep.resume={tmp_path}", folder=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert told in ended.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"sweep.json": before}


def test_sweep_resume_notices_what_is_left_out(tmp_path: Path) -> None:
    swept = [override for override in TINY if "false" not in override]
    write_json(tmp_path / "sweep.json", {**LIFE, "jobs": [[*swept, "init=fixed", "seed=3"]]})
    ended = distill("-m", *swept, "seed=3", f"sweep.resume={tmp_path}", folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "its job 0 has init=fixed; use the command that started it" in ended.err


def test_sweep_resume_does_what_is_missing(sweep: Sweep) -> None:
    folder = sweep[1]
    kept, lost = folder / "0", folder / "1"
    bits = (lost / "distilled.safetensors").read_bytes()
    finished = (kept / "result.json").stat().st_mtime_ns
    shutil.rmtree(lost)
    assert table.sweep(folder)["status"].tolist() == ["finished", "missing", "failed", "failed"]
    shown = distill_status(str(folder), folder=folder.parent).out
    [told] = [line for line in shown.splitlines() if line.startswith("to finish it: distill ")]
    again = shlex.split(told)[4:]
    assert again == ["-m", *TINY, "dataset.validation=0.1,0.001", "seed=3,4", f"sweep.resume={folder}"]
    ended = distill(*again, folder=folder.parent)
    assert ended.code == 1
    assert table.sweep(folder)["status"].tolist() == ["finished"] * 2 + ["failed"] * 2
    assert (kept / "result.json").stat().st_mtime_ns == finished
    assert (lost / "distilled.safetensors").read_bytes() == bits


@pytest.mark.parametrize(
    "command",
    [
        "",
        "distill 'seed",
        "rm -rf /",
        "distill -m hydra.callbacks.x._target_=os.system",
        "distill -cd elsewhere",
    ],
)
def test_a_multirun_without_a_command_of_ours_shows_none(command: str, tmp_path: Path) -> None:
    write_json(tmp_path / "sweep.json", {**LIFE, "jobs": [["seed=3"]], "command": command})
    ended = distill("-m", "seed=4", f"sweep.resume={tmp_path}", folder=tmp_path)
    assert ended.err.endswith("not seed=4; use the command that started it\n")
    assert "to finish it" not in distill_status(str(tmp_path), folder=tmp_path).out


@pytest.mark.parametrize(("there", "first"), [("", ""), (".", ""), ("a b", "cd 'a b'; ")])
def test_resume_of_a_multirun_shows_its_command(there: str, first: str, tmp_path: Path) -> None:
    """Behind the folder that it was typed in: it may have paths."""
    cwd = str(tmp_path) if there == "." else there
    life = {**LIFE, "jobs": [["seed=3"]], "command": "distill -m seed=3,4", "cwd": cwd}
    write_json(tmp_path / "sweep.json", life)
    ended = distill(f"resume={tmp_path}", folder=tmp_path)
    told = (
        f"resume={tmp_path}: a multirun, not a run; type {first}distill -m seed=3,4 sweep.resume={tmp_path}"
    )
    assert ended == (2, "", f"distill: {told}\n")


def test_a_value_that_looks_like_a_flag_of_hydra_hides_no_command(tmp_path: Path) -> None:
    command = "distill -m dataset.path=my-cnn seed=3,4"
    write_json(tmp_path / "sweep.json", {**LIFE, "jobs": [["seed=3"]], "command": command})
    assert distill(f"resume={tmp_path}", folder=tmp_path).err.endswith(f"{command} sweep.resume={tmp_path}\n")


def test_sweep_resume_needs_a_sweep(tmp_path: Path) -> None:
    ended = distill("-m", *TINY, "seed=1,2", "sweep.resume=nowhere", folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "distill: sweep.resume=nowhere: not the folder of a multirun (it has no sweep.json)\n"


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # submitit leaves a process open
def test_a_launcher_that_loses_a_job_does_not_lose_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    (tmp_path / "networks.py").write_text(
        "import os, signal\n"
        "from torch import nn\n"
        "class Kept(nn.Sequential):\n"
        "    def __init__(self, channels, image_size, classes):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(channels * image_size**2, classes))\n"
        "class Killed(Kept):\n"
        "    def __init__(self, *shape):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    swept = "architecture.path=networks:Killed,networks:Kept"
    local = ["hydra/launcher=submitit_local", "hydra.sweep.dir=pair", "evaluation.networks=0"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # submitit leaves the process of the second job open
        ended = distill("-m", *TINY, *local, "architecture=imported", swept, folder=tmp_path)
        gc.collect()
    assert ended.code == 1
    rows = pandas.read_csv(tmp_path / "pair" / "sweep.csv")
    assert rows["architecture.path"].tolist() == [r"networks\:Killed", r"networks\:Kept"]  # as Hydra quotes
    assert rows["status"].tolist() == ["lost", "finished"], ended


def test_distill_status_shows_each_job(sweep: Sweep) -> None:
    folder = sweep[1]
    made = [folder / name for name in ("sweep.csv", "sweep.md", "report.html")]
    for path in made:
        path.unlink()
    out = distill_status(str(folder), "--watch", folder=folder).out
    assert len([line for line in out.splitlines() if "│ finished │ 2 / 2    │" in line]) == 2
    assert len([line for line in out.splitlines() if "│ failed   │" in line]) == 2
    assert "3/distill.log" in out
    assert all(path.exists() for path in made)
    assert distill_status("nowhere", folder=folder) == (2, "", "distill-status: nowhere: no such folder\n")


def test_ctrl_c_ends_the_multirun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pipeline.distill

    def interrupted(*arguments: Any) -> Result:
        return run(*arguments).model_copy(update={"status": "interrupted", "signal": "SIGINT"})

    monkeypatch.setattr(pipeline, "distill", interrupted)
    ended = distill("-m", *TINY, "seed=0,1", "hydra.sweep.dir=pair", folder=tmp_path)
    assert ended.code == 130
    assert [path.name for path in (tmp_path / "pair").iterdir() if path.is_dir()] == ["0"]
    assert (tmp_path / "pair" / "sweep.csv").exists()


@pytest.mark.slow
def test_of_64_parallel_jobs_none_is_lost_or_mixed_up(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=grid"]
    small = ["architecture=mlp", "architecture.width=4", "evaluation.networks=0"]
    seeds, steps, epochs = range(16), (1, 2), (1, 2)
    swept = [f"seed=range({len(seeds)})", "distilled.steps=1,2", "distilled.epochs=1,2"]
    ended = distill("-m", *TINY, *parallel, *small, *swept, folder=tmp_path)
    assert ended.code == 0, ended.err
    rows = pandas.read_csv(tmp_path / "grid" / "sweep.csv")
    assert rows["status"].tolist() == ["finished"] * 64
    asked = rows[["distilled.steps", "distilled.epochs", "seed"]].to_numpy().tolist()
    assert asked == [list(job) for job in itertools.product(steps, epochs, seeds)]
    kept = [load_distilled(tmp_path / "grid" / str(job) / "distilled.safetensors") for job in rows["job"]]
    for job, (*shape, seed), distilled in zip(rows["job"], asked, kept, strict=True):
        told = result_of(tmp_path / "grid" / str(job))["config"]
        for config in (told, distilled.metadata["config"]):
            found = config["distilled"]["steps"], config["distilled"]["epochs"], config["seed"]
            assert found == (*shape, seed)
        assert list(distilled.learning_rates.shape) == shape[::-1]
    assert len({distilled.images.numpy().tobytes() for distilled in kept}) == 64


def test_a_folder_in_which_another_multirun_goes_on_is_refused(tmp_path: Path) -> None:
    life = {"updated": time.time(), "pid": os.getppid(), "host": socket.gethostname()}
    there = {"launcher": "Basic", "jobs": [["seed=0"]], "ended": False, **life}
    write_json(tmp_path / "sweep" / "sweep.json", there)
    before = (tmp_path / "sweep" / "sweep.json").read_bytes()
    ended = distill("-m", *TINY, "seed=1,2", "hydra.sweep.dir=sweep", folder=tmp_path)
    assert ended.code == 2
    [told] = ended.err.splitlines()
    assert f"hydra.sweep.dir=sweep: process {os.getppid()} of" in told
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["sweep.json"]
    assert (tmp_path / "sweep" / "sweep.json").read_bytes() == before
    write_json(tmp_path / "sweep" / "sweep.json", {**there, "updated": 0.0})  # it is gone
    ended = distill("-m", *TINY, "seed=1,-1", "hydra.sweep.dir=sweep", folder=tmp_path)
    assert "seed=-1" in ended.err


def test_a_refused_sweep_into_an_old_folder_says_why(sweep: Sweep) -> None:
    folder = sweep[1]
    ended = distill("-m", *TINY, "distilled.stepz=1,2", f"hydra.sweep.dir={folder}", folder=folder.parent)
    assert ended.code == 2
    assert ended.err == "distill: distilled.stepz: no such key; did you mean steps?\n"


def processes_of(session: int) -> list[str]:
    """The commands of the session's processes that have not ended."""
    # -ww: readline, which pytest imports, sets COLUMNS=80 where there is no terminal.
    told = subprocess.run(
        ["ps", "-ww", "-eo", "sid,stat,args"], capture_output=True, text=True, check=True
    ).stdout
    left = [line.split(None, 2) for line in told.splitlines()]
    return [args for sid, stat, args in left if sid == str(session) and "Z" not in stat]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "code", "ends"),
    [
        (signal.SIGINT, 130, os.killpg),  # as a terminal does
        (signal.SIGINT, 130, os.kill),
        (signal.SIGTERM, 75, os.kill),
        (signal.SIGUSR1, 75, os.killpg),
    ],
)
def test_a_signal_ends_a_multirun_when_its_jobs_have_saved(
    signum: signal.Signals, code: int, ends: Callable[[int, int], None], tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")

    def has_begun(multirun: subprocess.Popen[bytes]) -> bool:
        assert multirun.poll() is None, (tmp_path / "log").read_text()
        running = [read(Status, tmp_path / "pair" / job / "status.json") for job in "01"]
        return all(status and status.step for status in running)

    told = ended(tmp_path, has_begun, code, lambda pid: ends(pid, signum))
    rows = pandas.read_csv(tmp_path / "pair" / "sweep.csv")
    assert rows["status"].tolist() == ["interrupted", "interrupted", "missing"]
    for job in "01":
        kept = result_of(tmp_path / "pair" / job)
        assert (kept["signal"], kept["outer_steps"] > 0) == (signum.name, True)
        [checkpoint] = (tmp_path / "pair" / job / "checkpoints").iterdir()
        assert checkpoint.name == f"step_{kept['outer_steps']:08}.ckpt"
        assert (tmp_path / "pair" / job / "report.html").exists()
    assert told.splitlines()[-1].endswith("seed=0,1,2 outer.steps=100000 sweep.resume=pair")


@pytest.mark.slow
def test_ctrl_c_while_the_workers_of_a_multirun_start(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")

    def has_workers(multirun: subprocess.Popen[bytes]) -> bool:
        return any("LokyProcess" in command for command in processes_of(session=multirun.pid))

    told = ended(tmp_path, has_workers, 130, lambda pid: os.killpg(pid, signal.SIGINT))
    assert told.count("interrupted (SIGINT)") == 1


def ended(
    folder: Path, begun: Callable[[subprocess.Popen[bytes]], bool], code: int, end: Callable[[int], None]
) -> str:
    """What a multirun of two workers says that is ended as soon as it has `begun`; it leaves no process."""
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=pair"]
    command = [Path(sys.executable).with_name("distill"), "-m", *TINY, *parallel, "seed=0,1,2"]
    with (
        open(folder / "log", "w") as log,
        subprocess.Popen(
            [*command, "outer.steps=100000"], cwd=folder, start_new_session=True, stdout=log, stderr=log
        ) as multirun,
    ):
        try:
            eventually(lambda: begun(multirun))
            end(multirun.pid)
            assert multirun.wait(DEADLINE) == code, (folder / "log").read_text()
        except BaseException:
            os.killpg(multirun.pid, signal.SIGKILL)
            raise
    eventually(lambda: not processes_of(session=multirun.pid))
    told = (folder / "log").read_text()
    assert "Traceback" not in told
    assert "leaked" not in told
    return told


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_it_starts_asks_to_be_tried_again(
    signum: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def importing(_: Any) -> None:
        os.kill(os.getpid(), signum)
        time.sleep(DEADLINE)  # which the signal ends

    monkeypatch.setattr(hydra_app, "run_job", importing)
    ended = distill(*TINY, folder=tmp_path)
    assert (ended.code, ended.err) == (75, f"distill: interrupted ({signum.name})\n")
