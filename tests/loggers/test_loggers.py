"""What the loggers are told, read back from the files that they leave."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas
import pytest
import torch
import wandb
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

from dataset_distillation.errors import UserError
from dataset_distillation.loggers.wandb import Wandb
from dataset_distillation.pipeline.dashboard import title_of
from dataset_distillation.report import charts, drawing
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.run.run import Run
from support.command_line import Ended, distill, distill_evaluate, only_run
from support.experiments import TINY
from support.folders import result_of
from support.waiting import eventually

COMMON = [option for option in TINY if not option.startswith("logger")]


def records(path: Path) -> Iterator[Record]:
    """A `.wandb` file: a LevelDB log (blocks of 32 KiB, chunks of CRC, length, kind) of protobuf messages.

    W&B 0.31 reads it in its Go program alone, which only `wandb sync` (a server) and `wandb leet` (a
    terminal) call; what that would refuse, another header or checksum, is refused here.
    """
    content, place, message = path.read_bytes(), 7, b""
    assert content[:7] in (b"", struct.pack("<4sHB", b":W&B", 0xBEE1, 0))
    while place + 7 <= len(content):
        left = -place % 32768 or 32768
        if left < 7:  # too short for a chunk: padding
            place += left
            continue
        checksum, length, kind = struct.unpack("<IHB", content[place : place + 7])
        if place + 7 + length > len(content):  # it is being written
            return
        message += content[place + 7 : place + 7 + length]
        assert checksum == zlib.crc32(content[place + 7 : place + 7 + length], zlib.crc32(bytes([kind])))
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(message)
            message = b""


def run_ids(path: Path) -> list[str]:
    """Of the run in a `.wandb` file; W&B's own process may still write it for a moment after the end."""
    return eventually(lambda: [record.run.run_id for record in records(path) if record.HasField("run")])


def nested(items: Any) -> dict[str, Any]:
    """A logged row: a picture or a table is told item by item."""
    row: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        inside = row
        for key in outer:
            inside = inside.setdefault(key, {})
        inside[last] = json.loads(item.value_json)
    return row


class Logged(NamedTuple):
    """One W&B run."""

    id: str
    name: str
    group: str
    tags: list[str]
    exit_code: int | None
    config: dict[str, Any]
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    summary: dict[str, Any]
    files: Path


def logged(job: Path) -> Logged:
    [path] = job.glob("wandb/offline-run-*/*.wandb")
    of_kind: dict[str, list[Any]] = {}

    def ended() -> bool:
        of_kind.clear()
        for record in records(path):
            kind = record.WhichOneof("record_type")
            of_kind.setdefault(kind, []).append(getattr(record, kind))
        return "exit" in of_kind

    eventually(ended)  # W&B's own process writes the file
    [run] = of_kind["run"]
    history = [nested(row.item) for row in of_kind.get("history", [])]
    metrics = of_kind["metric"]
    names = {i: metric.name for i, metric in enumerate(metrics, start=1)}
    return Logged(
        run.run_id,
        run.display_name,
        run.run_group,
        list(run.tags),
        next((end.exit_code for end in of_kind.get("exit", [])), None),
        {item.key: json.loads(item.value_json) for item in run.config.update},
        history,
        {
            m.glob_name: (m.step_metric or names[m.step_metric_index], m.summary)
            for m in metrics
            if m.glob_name
        },
        {item.key: json.loads(item.value_json) for s in of_kind.get("summary", []) for item in s.update},
        path.parent / "files",
    )


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Logged], dict[str, str]]:
    """Two jobs of one process, logged to W&B, and what they did to the environment."""
    folder = tmp_path_factory.mktemp("two_jobs")
    before = dict(os.environ)
    arguments = ["-m", *COMMON, "logger=wandb", "seed=0,1", "hydra.sweep.dir=pair"]
    ended = distill(*arguments, folder=folder, keep_environment=True)
    added = {key: value for key, value in os.environ.items() if before.get(key) != value}
    for key in added:
        del os.environ[key]
    assert ended.code == 0, ended.err
    assert "wandb:" not in ended.out + ended.err
    return folder / "pair", [logged(folder / "pair" / job) for job in "01"], added


Sweep = tuple[Path, list[Logged], dict[str, str]]


def test_each_job_is_a_finished_run_of_its_own(sweep: Sweep) -> None:
    first, second = sweep[1]
    assert first.id != second.id
    assert [run.exit_code for run in (first, second)] == [0, 0]
    assert [run.name for run in (first, second)] == ["seed=0", "seed=1"]  # what differs
    assert {run.group for run in (first, second)} == {"pair"}
    assert first.tags == second.tags == ["digits", "lenet", "random", "standard"]
    assert wandb.run is None


def test_later_jobs_find_nothing_in_the_environment(sweep: Sweep) -> None:
    # WANDB_SERVICE is how W&B finds its own process again, and every job switches telemetry off.
    # WANDB_MODE, say, would change the next job.
    allowed = {"WANDB_SERVICE", "WANDB_ERROR_REPORTING"}
    assert {name for name in sweep[2] if name.startswith("WANDB")} <= allowed


def test_the_config_is_the_resolved_tree(sweep: Sweep) -> None:
    folder, runs, _ = sweep
    for job, run in zip("01", runs, strict=True):
        asked = result_of(folder / job)["config"]
        assert {key: run.config[key] for key in asked} == asked
        assert run.config["choices"]["architecture"] == "lenet"
    assert runs[1].config["seed"] == 1
    assert runs[0].config["outer"]["betas"] == [0.5, 0.999]


def test_the_curves_are_over_the_outer_steps(sweep: Sweep) -> None:
    folder, runs, _ = sweep
    for job, run in zip("01", runs, strict=True):
        assert {axis for axis, _ in run.metrics.values()} == {"trainer/global_step"}
        best = {
            name for name, (_, summary) in run.metrics.items() if summary.min and summary.max and summary.last
        }
        assert (run.metrics.keys(), best) == ({"*", "outer/*", "validation/*"}, {"outer/*", "validation/*"})
        result = result_of(folder / job)
        accuracies = [row["validation/accuracy"] for row in run.history if "validation/accuracy" in row]
        assert max(accuracies) == pytest.approx(result["validation_accuracy"])
        [validated] = [row for row in run.history if "learning_rates/epoch_0_step_0" in row]
        assert 0 < validated["learning_rates/epoch_0_step_1"] < 1
        assert any("outer/loss" in row and "outer/meta_gradient_norm" in row for row in run.history)
        assert all("trainer/global_step" in row for row in run.history if "evaluation" not in row)


def test_the_images_are_a_panel_with_captions(sweep: Sweep) -> None:
    for run in sweep[1]:
        [panel] = [row["distilled/images"] for row in run.history if "distilled/images" in row]
        assert panel["captions"] == [f"step {step}: {digit}" for step in range(2) for digit in range(10)]
        assert panel["count"] == 20
        assert all((run.files / name).is_file() for name in panel["filenames"])


def test_the_final_table_and_the_artifact_are_kept(sweep: Sweep) -> None:
    folder, runs, _ = sweep
    for job, run in zip("01", runs, strict=True):
        [table] = [row["evaluation"] for row in run.history if "evaluation" in row]
        content = json.loads((run.files / table["path"]).read_text())
        expected = result_of(folder / job)["evaluation"]
        shown = [{"metrics": row["metrics"]} for row in expected]
        for row, values in zip(shown, content["data"], strict=True):
            row |= dict(zip(content["columns"], [None if v != v else v for v in values], strict=True))
        assert shown == [{**row, "selection": "validation"} for row in expected]
        [runs_of] = [row["evaluation/runs"] for row in run.history if "evaluation/runs" in row]
        content = json.loads((run.files / runs_of["path"]).read_text())
        written = pandas.read_csv(folder / job / "evaluation.csv")
        assert content["columns"] == list(written)
        place = content["columns"].index("accuracy")
        assert [row[place] for row in content["data"]] == pytest.approx(written["accuracy"].tolist())
        for row in expected:
            for key in ("mean", "std", "min", "max"):
                assert run.summary[f"evaluation/{row['method']}/{key}"] == pytest.approx(row[key])
        cost = result_of(folder / job)["provenance"]
        assert run.summary["cost/started"] == cost["started"]
        assert 0 < run.summary["cost/cpu_seconds"] <= cost["cpu_seconds"]
        [path] = (folder / job).glob("wandb/offline-run-*/*.wandb")
        artifacts = [record.artifact for record in records(path) if record.HasField("artifact")]
        [kept] = [artifact for artifact in artifacts if artifact.type == "distilled-data"]
        assert [entry.path for entry in kept.manifest.contents] == ["distilled.safetensors"]
        metadata = json.loads(kept.metadata)
        assert (metadata["dataset"], metadata["storage"]["images"]) == ("digits", 20)
        assert yaml.safe_load(metadata["config"])["distilled"]["steps"] == 2


@pytest.mark.slow
def test_every_metric_of_the_objective_can_be_searched_by(tmp_path: Path) -> None:
    """Not the accuracy alone: of an attack, how many are taken for the target, validated and tested."""
    attack = ["objective=attack", "init=pretrained", "init.pool_size=1", "init.pretraining.folder=pools"]
    attack += ["distilled.steps=1", "distilled.epochs=1"]
    ended = distill(*COMMON, *attack, "logger=wandb", "hydra.run.dir=run", folder=tmp_path)
    assert ended.code == 0, ended.err
    run = logged(tmp_path / "run")
    evaluation = result_of(tmp_path / "run")["evaluation"]
    for metric in ("attacked_as_target", "attacked_accuracy", "others_accuracy"):
        assert [row for row in run.history if f"validation/{metric}" in row]
        for row in evaluation:
            for key, value in row["metrics"][metric].items():
                assert run.summary[f"evaluation/{row['method']}/{metric}/{key}"] == pytest.approx(value)
    [table] = [row["evaluation"] for row in run.history if "evaluation" in row]
    assert "attacked_as_target/mean" in json.loads((run.files / table["path"]).read_text())["columns"]


def test_what_is_judged_again_is_shown_and_kept(sweep: Sweep, tmp_path: Path) -> None:
    artifact = sweep[0] / "0" / "distilled.safetensors"
    asked = [f"artifact={artifact}", "trainer=cpu", "logger=wandb", "hydra.run.dir=judged"]
    ended = distill_evaluate(*asked, folder=tmp_path)
    assert ended.code == 0, ended.err
    run = logged(tmp_path / "judged")
    [panel] = [row["distilled/images"] for row in run.history if "distilled/images" in row]
    assert panel["captions"] == [f"step {step}: {digit}" for step in range(2) for digit in range(10)]
    [path] = (tmp_path / "judged").glob("wandb/offline-run-*/*.wandb")
    artifacts = [record.artifact for record in records(path) if record.HasField("artifact")]
    [kept] = [entry for made in artifacts for entry in made.manifest.contents if ".safe" in entry.path]
    assert kept.size == artifact.stat().st_size


def test_the_charts_of_the_page_are_panels(sweep: Sweep) -> None:
    """Their pixels are those of the charts that are drawn from the run's files."""
    for job, run in zip("01", sweep[1], strict=True):
        [row] = [row for row in run.history if "evaluation" in row]
        folder = RecordedRun(sweep[0] / job)
        assert folder.runs is not None
        assert folder.distilled is not None
        distribution = charts.distributions(folder.runs, folder.result.metrics, drawing.PRINT)
        names = folder.distilled.metadata["class_names"]
        confusions = charts.confusions(folder.confusion, names, drawing.PRINT)
        expected = {"evaluation/distribution/accuracy": distribution[folder.result.metric]}
        expected |= {f"evaluation/confusion/{method}": drawn for method, drawn in confusions.items()}
        assert len(expected) == 3
        for name, drawn in expected.items():
            with Image.open(run.files / row[name]["path"]) as ours:
                shown = np.asarray(ours)
            with Image.open(io.BytesIO(drawing.png(drawn))) as theirs:
                np.testing.assert_array_equal(shown, np.asarray(theirs), name)
        assert {name for name in row if name.startswith(("evaluation/d", "evaluation/c"))} == set(expected)
        [table] = [row[name] for name in row if name.startswith("evaluation/methods")]  # the bars'
        content = json.loads((run.files / table["path"]).read_text())
        assert [line[0] for line in content["data"]] == list(folder.result.rows)


def test_online_without_a_key_is_one_line_and_no_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a prompt"))
    ended = distill(*COMMON, "logger=wandb", "logger.mode=online", folder=tmp_path)
    assert ended.code == 2
    assert "set WANDB_API_KEY or use logger.mode=offline" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


def test_what_wandb_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise wandb.errors.CommError("no route to the server")

    monkeypatch.setattr(wandb, "init", refuse)
    pool = ["init=fixed_pretrained", "init.pretraining.folder=pool"]
    ended = distill(*COMMON, *pool, "logger=wandb", folder=tmp_path)
    assert ended.code == 1
    assert not (tmp_path / "pool").exists()  # it is told before the networks of a pool are trained
    told = ended.err.splitlines()[-1]
    assert "W&B: no route to the server; use logger.mode=offline to work without it" in told
    assert "Traceback" not in ended.err


def test_what_its_settings_refuse_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ValueError("1 validation error\n  run_group")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match=r"^W&B: 1 validation error run_group; use logger=tensorboard to"):
        Wandb().open(run.folder, {}, title_of(run, "photos"))


def test_a_long_title_is_a_short_tag(run: Run) -> None:
    logger = Wandb()
    logger.open(run.folder, {}, title_of(run, 80 * "x"))
    logger.finish(None, None, {}, succeeded=True)
    assert logged(run.folder).tags[0] == 64 * "x"


def test_no_more_images_are_encoded_than_are_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    logger, encoded = Wandb(), wandb.Image
    logger.open(run.folder, {}, title_of(run, "photos"))
    made: list[Any] = []
    monkeypatch.setattr(wandb, "Image", lambda *of, **how: made.append(encoded(*of, **how)) or made[-1])
    logger.images([torch.zeros(1, 4, 4)] * 200, [str(number) for number in range(200)], step=1)
    logger.finish(None, None, {}, succeeded=True)
    assert len(made) == 108


def test_a_run_that_failed_is_marked_so(run: Run) -> None:
    logger = Wandb()
    logger.open(run.folder, {"seed": 0}, title_of(run, "photos"))
    logger.finish(None, None, {}, succeeded=False)
    shown = logged(run.folder)
    assert shown.exit_code == 1
    assert shown.group == ""  # it is in no sweep
    assert shown.name == f"{run.folder.parent.name}/{run.folder.name}"
    assert shown.tags[0] == "photos"  # the data set's own name, not that of its file in conf/


def test_a_run_that_goes_on_is_the_same_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, Any]] = []
    init = wandb.init

    def offline(**arguments: Any) -> Any:
        started.append(arguments)
        return init(**arguments | {"mode": "offline", "resume": None})

    monkeypatch.setattr(wandb, "init", offline)
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    logger = Wandb(mode="online")
    for step in (1, 2):
        logger.open(run.folder, {"seed": 0}, title_of(run, "photos"))
        logger._run.log({"outer/loss": 1.0, "trainer/global_step": step})
        logger.finish(None, None, {}, succeeded=False)
    first, second = started
    assert (first["id"], first["resume"], second["resume"]) == (None, None, "allow")
    attempts = sorted(run.folder.glob("wandb/offline-run-*"))
    assert {attempt.name.partition("run-")[2].split("-")[1] for attempt in attempts} == {second["id"]}


def test_an_offline_run_that_goes_on_keeps_its_id(run: Run) -> None:
    logger = Wandb()
    for step in (1, 2):
        logger.open(run.folder, {"seed": 0}, title_of(run, "photos"))
        logger._run.log({"outer/loss": 1.0, "trainer/global_step": step})
        logger.finish(None, None, {}, succeeded=False)
    files = sorted(run.folder.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    ids = [run_ids(file) for file in files]
    assert ids[0] == ids[1] != []


def test_wandb_sync_finds_the_offline_runs(sweep: Sweep) -> None:
    """Their names: without a server it does not read them, which `records` does."""
    runs = [next((sweep[0] / job).glob("wandb/offline-run-*")) for job in "01"]
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", *map(str, runs)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    for run in runs:
        assert run.name in ended.stdout + ended.stderr


OFFLINE = """
import torch
from pathlib import Path
from dataset_distillation.loggers import Title
from dataset_distillation.loggers.wandb import Wandb
logger = Wandb()
logger.open(Path("."), {}, Title("name", None, []))
logger.images([torch.zeros(1, 4, 4)], ["black"], step=1)
logger.finish(None, None, {}, succeeded=True)
"""


def test_offline_nothing_is_sent(tmp_path: Path) -> None:
    """In a new process, since W&B reads its settings once; it would reach its server through a proxy."""
    sent: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def listen() -> None:
            while True:
                connection, _ = proxy.accept()
                with connection:
                    if request := connection.recv(100):
                        sent.append(request)
                    else:
                        return

        listener = threading.Thread(target=listen)
        listener.start()
        there = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        everything = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), there)
        environment = {**os.environ, **everything, "NO_PROXY": "", "no_proxy": ""}
        environment.pop("WANDB_ERROR_REPORTING", None)
        subprocess.run([sys.executable, "-c", OFFLINE], cwd=tmp_path, env=environment, check=True)
        socket.create_connection(proxy.getsockname()).close()
        listener.join()
    assert list(tmp_path.glob("wandb/offline-run-*"))
    assert sent == []


@pytest.mark.parametrize(("channels", "expected"), [(1, [51, 102]), (3, [(51, 51, 51), (102, 102, 102)])])
def test_the_images_keep_their_contrast(run: Run, channels: int, expected: list[Any]) -> None:
    logger = Wandb()
    logger.open(run.folder, {}, title_of(run, "photos"))
    image = torch.tensor([0.2, 0.4]).repeat(channels, 4, 2)
    logger.images([image], ["two greys"], step=1)
    logger.finish(None, None, {}, succeeded=True)
    [file] = run.folder.rglob("*.png")
    with Image.open(file) as picture:
        assert [picture.getpixel((x, 0)) for x in range(2)] == expected


def test_history_has_a_column_for_each_curve(tmp_path: Path) -> None:
    ended = distill(*COMMON, "logger=none", folder=tmp_path)
    assert ended.code == 0, ended.err
    curves = pandas.read_csv(only_run(tmp_path) / "history.csv")
    assert {"step", "outer/loss", "outer/meta_gradient_norm", "validation/accuracy"} <= set(curves)
    assert {f"learning_rates/epoch_0_step_{step}" for step in range(2)} <= set(curves)
    assert curves["outer/loss"].notna().any()
    assert curves["validation/accuracy"].notna().sum() == 1


def test_none_leaves_nothing(tmp_path: Path) -> None:
    ended: Ended = distill(*COMMON, "logger=none", folder=tmp_path)
    assert ended.code == 0, ended.err
    names = {path.name for path in only_run(tmp_path).iterdir()}
    assert not {"wandb", "tensorboard", "lightning_logs"} & names


def test_several_loggers_are_told_the_same(tmp_path: Path) -> None:
    arguments = ["logger=several", "logger.loggers.wandb.project=digits"]
    ended = distill(*COMMON, *arguments, folder=tmp_path)
    assert ended.code == 0, ended.err
    run = only_run(tmp_path)
    curves = pandas.read_csv(run / "history.csv")["validation/accuracy"].dropna().tolist()
    shown = logged(run)
    assert [row["validation/accuracy"] for row in shown.history if "validation/accuracy" in row] == curves
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    assert [event.value for event in events.Scalars("validation/accuracy")] == pytest.approx(curves)
    steps = [event.step for event in events.Scalars("validation/accuracy")]
    assert [event.step for event in events.Images("distilled")] == steps == [1]
    panels = {tag.removeprefix("evaluation/") for tag in events.Tags()["images"]}
    assert panels == {
        "distilled",
        "distribution/accuracy",
        "confusion/before_training",
        "confusion/distilled",
    }
    texts = {tag.split("/")[0] for tag in events.Tags()["tensors"]}
    assert texts == {"config", "cost", "evaluation"}
    result = result_of(run)
    means = {f"evaluation/{row['method']}/mean": row["mean"] for row in result["evaluation"]}
    assert {tag: events.Scalars(tag)[0].value for tag in means} == pytest.approx(means)
    [content] = (events.SummaryMetadata("_hparams_/session_start_info").plugin_data,)
    assert b"choices/dataset" in content.content


def test_an_option_that_none_of_several_has(tmp_path: Path) -> None:
    ended = distill(*COMMON, "logger=several", "+logger.loggers.wandb.team=us", folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "logger.loggers.wandb.team=us: no such key; the keys are project, entity, mode" in ended.err
