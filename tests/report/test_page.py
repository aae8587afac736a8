"""The page of a run and of a multirun: what stands in it, and that a browser shows it as it should be."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch import nn

from dataset_distillation import load_distilled
from dataset_distillation.cli.pages import main as distill_report
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.pictures import MOST, visible
from dataset_distillation.errors import UserError
from dataset_distillation.objectives import Metric
from dataset_distillation.report import charts, drawing, page, sweep_page, table
from dataset_distillation.report.methods import protocol
from dataset_distillation.report.numbers import about
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.run.records import EvaluationRow, Result
from support.folders import result_of
from support.report_folders import CLASSES, HOSTILE, judged, row, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("page") / "run")
    page.write_run(folder)
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "sweep"
    for job, epochs in enumerate((1, 3)):
        write_run(folder / str(job), overrides=[f"distilled={{steps:2,epochs:{epochs}}}"])
    failed = {"status": "failed", "error": HOSTILE, "overrides": ["distilled={steps:2,epochs:0}"]}
    (folder / "2").mkdir()
    (folder / "2" / "result.json").write_text(json.dumps(failed))
    (folder / "3").mkdir()
    sweep_page.write_sweep(folder)
    return folder


@pytest.fixture(scope="module")
def judged_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `distill-evaluate artifact=...` leaves it."""
    folder = write_run(tmp_path_factory.mktemp("page") / "judged", **judged())
    for name in ("history.csv", "images/real.png"):
        (folder / name).unlink()
    page.write_run(folder)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `distill-evaluate baselines=...` leaves it."""
    rows = [row(method, np.linspace(0.1, 0.2, 5)) for method in ("before_training", "random_real")]
    folder = write_run(tmp_path_factory.mktemp("page") / "alone", **judged(evaluation=rows))
    for name in ("history.csv", "images/real.png", "distilled.safetensors"):
        (folder / name).unlink()
    (folder / "confusion.json").write_text(json.dumps({"before_training": np.eye(3).tolist()}))
    page.write_run(folder)
    return folder


def sections(folder: Path) -> set[str]:
    return set(re.findall(r'<section id="(\w+)"', text(folder)))


def text(folder: Path) -> str:
    return (folder / page.PAGE).read_text()


def cells(folder: Path) -> list[list[str]]:
    """The texts of the table's rows, bars left out."""
    rows = re.findall(r"<tr.*?>(.*?)</tr>", text(folder), re.DOTALL)
    found = [re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[html.unescape(re.sub("<.*?>", "", cell)).strip() for cell in row] for row in found if row]


def test_a_page_is_a_function_of_the_folder(run: Path, tmp_path: Path) -> None:
    before = text(run)
    page.write_run(run)
    assert text(run) == before
    copied = shutil.copytree(run, tmp_path / "copy" / "run")
    page.write_run(copied)
    assert text(copied) == before


def test_the_images_are_those_of_the_artifact_and_labelled(run: Path) -> None:
    shown = re.findall(r'<img src="data:image/png;base64,(.*?)" alt="(.*?)"><figcaption>(.*?)<', text(run))
    assert [html.unescape(name) for _, name, _ in shown] == CLASSES * 4  # two real examples, two steps
    assert all(name == caption for _, name, caption in shown)
    tiles = [np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))) for content, _, _ in shown]
    real = np.asarray(Image.open(run / "images" / "real.png"))
    np.testing.assert_array_equal(tiles[4], real[8:16, 8:16])  # the second example of the second class
    distilled = visible(load_distilled(run / "distilled.safetensors").pixels)
    np.testing.assert_array_equal(tiles[6 + 4], (distilled[1, 1, 0] * 255).round().numpy())


def test_real_images_begin_the_row_of_their_class_where_a_step_has_several(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    made = load_distilled(run / "distilled.safetensors")
    images, labels = torch.rand(2, 6, 1, 8, 8), torch.arange(3).repeat_interleave(2).repeat(2, 1)
    replace(made, images=images, labels=labels).save(folder / "distilled.safetensors")
    page.write_run(folder)
    rows = re.findall(r'<div class="tiles.*? beside">(.*?)</div>', text(folder), re.DOTALL)
    shown = [re.findall(r"<figure( class=example)?>.*?<figcaption>(.*?)<", row, re.DOTALL) for row in rows]
    assert [[html.unescape(name) for _, name in row] for row in shown] == [[c] * 4 for c in CLASSES] * 2
    assert [[bool(real) for real, _ in row] for row in shown] == [[True, True, False, False]] * 6
    assert "12 distilled images" in " ".join(text(folder).split())


@pytest.mark.parametrize("labels", [[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 2, 2], [0, 0, 1, 1, 2, 2, 2]])
def test_images_that_are_not_in_the_order_of_classes_stand_beside_no_real_ones(
    labels: list[int], run: Path, tmp_path: Path
) -> None:
    """As those of other projects; all of them are shown."""
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    made = load_distilled(run / "distilled.safetensors")
    images = torch.rand(2, len(labels), 1, 8, 8)
    replace(made, images=images, labels=torch.tensor([labels] * 2)).save(folder / "distilled.safetensors")
    page.write_run(folder)
    assert "beside" not in re.findall(r'<div class="(.*?)">', text(folder))
    shown = re.findall(r"<figcaption>(.*?)<", text(folder))
    assert [html.unescape(name) for name in shown] == CLASSES * 2 + [CLASSES[label] for label in labels] * 2


def test_images_with_learned_labels_are_captioned_by_them(run: Path) -> None:
    hard = load_distilled(run / "distilled.safetensors")
    labels = torch.eye(3).roll(1, 0).expand(2, 3, 3) * 0.75
    replace(hard, labels=labels).save(run / "distilled.safetensors")
    page.write_run(run)
    captions = [html.unescape(c) for c in re.findall(r"<figcaption>(.*?)<", text(run))]
    assert captions[6:] == [f"{CLASSES[c]} 0.75" for c in (2, 0, 1)] * 2


def test_the_table_has_every_row_and_its_difference(run: Path) -> None:
    ours, theirs = cells(run)
    assert ours == [
        "distilled",
        "85.00 ± 3.95 %",
        "",
        "80.00 %",
        "",
        "",
        "",
        "5",
        "5 × 1",
        "rate 0.03 × 3 epochs",
        "1.5",
    ]
    assert theirs[:5] == ["random real", "45.00 ± 3.95 %", "", "40.00 %", "+40.00 % [+39.00, +41.00]"]
    assert theirs[5] == "any networks, this set"


def test_an_older_interval_is_about_the_sets_that_it_had() -> None:
    """It took the runs on one set as independent."""
    older = row("random_real", np.array([0.4, 0.5]), np.array([0.8, 0.9]))
    texts = [about(EvaluationRow(**older | more)) for more in ({}, {"sets": 2}, {"low": None})]
    assert texts == ["any networks, this set", "these sets and networks", ""]


def test_how_settings_were_chosen_is_said_where_any_were(tmp_path: Path) -> None:
    said = []
    for chosen in (0.03, None):
        rows = [
            row(method, np.array([0.5])) | {"learning_rate": chosen, "epochs": chosen and 3}
            for method in ("distilled", "full_training")
        ]
        page.write_run(write_run(tmp_path / "run", evaluation=rows))
        said.append("chosen on the validation split" in text(tmp_path / "run"))
    assert said == [True, False]


def test_it_says_how_to_repeat_the_run(run: Path) -> None:
    shown = html.unescape(text(run))
    [box] = re.findall(r'<section id="repeat">(.*?)</section>', shown, re.DOTALL)
    assert f"<pre>distill 'dataset={HOSTILE}'</pre>" in box
    assert "images_per_class: 1" in shown


def test_it_begins_with_how_to_use_the_set(run: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines run where the page lies."""
    [lines] = re.findall(r'<section id="use">.*?<pre>(.*?)</pre>', text(run), re.DOTALL)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    before = network[1].weight.clone()
    monkeypatch.chdir(run)
    exec(html.unescape(lines), {"network": network})
    assert not torch.equal(network[1].weight, before)
    places = [text(run).index(f'<section id="{name}"') for name in ("use", "repeat", "images", "table")]
    assert places == sorted(places)
    assert "use" not in sections(alone)


def test_nothing_is_fetched_and_nothing_of_the_users_is_run(run: Path, sweep: Path) -> None:
    for folder in (run, sweep):
        shown = text(folder)
        assert "<script" not in shown
        assert HOSTILE not in shown
        assert not [
            a for a in re.findall(r'(?:src|href)="([^"]*)"', shown) if not re.match(r"data:|#|\d/", a)
        ]


@pytest.mark.parametrize(
    "missing",
    [["history.csv"], ["distilled.safetensors"], ["evaluation.csv", "confusion.json", "images/real.png"]],
)
def test_what_is_missing_is_left_out(missing: list[str], tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    for name in missing:
        (folder / name).unlink()
    page.write_run(folder)
    gone = {
        "history.csv": {"curves"},
        "distilled.safetensors": {"use", "images", "confusion"},  # which has the names of the classes
        "evaluation.csv": {"distribution", "confusion"},
    }[missing[0]]
    every = {"images", "table", "curves", "distribution", "confusion", "cost", "provenance", "use", "repeat"}
    assert every - sections(folder) == gone


def test_the_page_of_an_artifact_that_was_judged(judged_run: Path) -> None:
    """Of the artifact's images, and of the classes of the data set on which it was judged."""
    shown = " ".join(html.unescape(text(judged_run)).split())
    without_curves = {"use", "repeat", "images", "table", "distribution", "confusion", "cost", "provenance"}
    assert sections(judged_run) == without_curves
    assert "<h1>distill-evaluate " in shown
    assert "6 distilled images for 30 gradient steps" in shown  # 3 batches of 2, ten times; not as learned
    assert shown.count(">nought</text>") == 4  # rows and columns of two matrices
    assert "outer steps" not in shown
    assert "<pre>distill-evaluate artifact=made.safetensors</pre>" in shown


def test_the_page_of_baselines_alone(alone: Path) -> None:
    shown = " ".join(html.unescape(text(alone)).split())
    assert sections(alone) == {"repeat", "table", "distribution", "cost", "provenance"}
    assert "No distilled data: other ways to train" in shown
    assert "distilled − this" not in shown
    assert [line[-2:] for line in cells(alone)] == [["rate 0.03 × 3 epochs", "1.5"]] * 2


def test_a_set_that_is_worse_than_real_images_is_told_with_advice(tmp_path: Path) -> None:
    ours = np.array([0.3, 0.5])
    for name, gain in (("worse", 0.1), ("better", -0.1)):
        rows = [row("distilled", ours), row("random_real", ours + gain, ours)]
        page.write_run(write_run(tmp_path / name, evaluation=rows))
    assert '<p class="warn">The distilled data are worse than random real images: distill for more' in text(
        tmp_path / "worse"
    )
    assert 'class="warn"' not in text(tmp_path / "better")
    judged = [row("distilled", ours), row("random_real", ours + 0.1, ours)]
    page.write_run(write_run(tmp_path / "judged", evaluation=judged, artifact="/sets/of_others.safetensors"))
    assert "random real images: explain=true shows whether it is judged otherwise" in text(
        tmp_path / "judged"
    )


def test_what_explains_the_number_stands_apart_under_readable_names(tmp_path: Path) -> None:
    """Each name is one that `explain=true` gives (tests/evaluation/test_explain.py)."""
    names = {
        "distilled_normalized_not_at_all": "normalization: none",
        "distilled_normalized_by_dc": "normalization: as DC",
        "distilled_tested_not_whitened": "whitening: none",
        "distilled_tested_whitened_by_mtt": "whitening: as MTT",
        "distilled_tested_whitened_by_rat_bptt": "whitening: as RaT-BPTT",
        "distilled_with_labels_as_classes": "labels: as classes",
        "distilled_with_augmentation_as_distilled": "augmentation: as distilled",
        "distilled_with_training_dsa": "training: dsa",
    }
    ours = np.linspace(0.4, 0.5, 5)
    rows = [row(method, ours) for method in ("before_training", "distilled", *names)]
    page.write_run(write_run(tmp_path, evaluation=rows))
    [apart] = re.findall(r'<section id="explained">(.*?)</section>', text(tmp_path), re.DOTALL)
    shown = [line[0] for line in cells(tmp_path)]
    assert shown == ["before training", "distilled", *names.values()]
    assert apart.count("<tr>") == 1 + len(names)
    assert ">whitening: as MTT</text>" in text(tmp_path)  # in the distribution
    said = [row["method"] for row in result_of(tmp_path)["evaluation"]]
    assert said[2:] == list(names)


def test_networks_of_other_architectures_are_told_apart(tmp_path: Path) -> None:
    ours = np.linspace(0.4, 0.5, 5)
    drawn = [row("distilled_with_weights_own", ours, ours)]
    given = {"own": [], "others": [row("distilled_on_mlp", ours, ours)], "drawn otherwise": drawn}
    for name, others in given.items():
        rows = [row("distilled", ours), row("random_real", ours, ours), *others]
        page.write_run(write_run(tmp_path / name, evaluation=rows))
        shown = " ".join(text(tmp_path / name).split())
        assert (", except those of other architectures or initial weights." in shown) == bool(others)
        assert ("Welch's t for other architectures" in html.unescape(shown)) == bool(others)


@pytest.mark.parametrize("neighbors", [False, True])
def test_the_note_on_neighbors_stands_where_they_are(neighbors: bool, tmp_path: Path) -> None:
    ours = np.linspace(0.4, 0.5, 5)
    others = [row("random_real", ours - 0.1, ours)]
    if neighbors:
        others.append({**row("nearest_neighbour_k_means", ours - 0.1, ours), "distance": "l2", "k": 1})
    page.write_run(write_run(tmp_path, evaluation=[row("distilled", ours), *others]))
    assert "paired by held-out network" in text(tmp_path)
    assert ("Welch" in text(tmp_path)) == neighbors


def test_equal_learning_rates_are_shown_once(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    rates = torch.full((30, 2), 0.01)
    rates[2, 1] = 0.5
    made = load_distilled(run / "distilled.safetensors")
    replace(made, learning_rates=rates).save(folder / "distilled.safetensors")
    page.write_run(folder)
    first, second = re.findall(r"<h3>step \d<small>(.*?)</small>", text(folder))
    assert first == "learning rate 0.01 (30 epochs)"
    assert second == "learning rates 0.01 · 0.01 · 0.5 · " + " · ".join(["0.01"] * 17)


def test_one_known_network_has_no_distribution(tmp_path: Path) -> None:
    ours = row("distilled", np.array([0.9]))
    page.write_run(write_run(tmp_path / "one", evaluation=[ours]))
    assert "distribution" not in sections(tmp_path / "one")
    sets = row("random_real", np.linspace(0.1, 0.2, 5))
    page.write_run(write_run(tmp_path / "sets", evaluation=[ours, sets]))
    [chart] = re.findall(r'<section id="distribution">(.*?)</section>', text(tmp_path / "sets"), re.DOTALL)
    assert "Over the sets of the baselines" in chart
    assert re.findall(">(distilled|random real)</text>", chart) == ["random real"]


def test_a_multirun_says_what_its_jobs_have_in_common(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / "s1" / str(seed), overrides=[f"seed={seed}"])
    sweep_page.write_sweep(tmp_path / "s1")
    shown = html.unescape(text(tmp_path / "s1"))
    assert '<span class="muted">· mnist · lenet · random · standard · s1</span>' in shown


def test_a_grid_of_images_and_steps_is_a_heat_map(tmp_path: Path) -> None:
    """Of means over the seeds; a point that was not run is empty."""
    runs = [(1, 1, 0.2), (1, 5, 0.4), (2, 1, 0.3), (2, 1, 0.5)]
    for job, (images, steps, accuracy) in enumerate(runs):
        asked = [f"distilled.images_per_class={images}", f"distilled.steps={steps}", f"seed={job}"]
        config = {"distilled": {"images_per_class": images, "steps": steps}}
        rows = [row("distilled", np.array([accuracy])), row("random_real", np.array([0.1]))]
        write_run(tmp_path / str(job), overrides=asked, config=config, evaluation=rows)
    sweep_page.write_sweep(tmp_path)
    shown = text(tmp_path)
    [heat] = [
        chart for chart in re.findall(r"<svg.*?</svg>", shown, re.DOTALL) if "images per class" in chart
    ]
    assert 'aria-label="test accuracy, % over images per class and step and steps"' in heat
    assert re.findall(r">([\d.]+)</text>", heat) == ["1", "2", "1", "5", "20", "40", "40"]


def test_jobs_of_different_data_are_not_averaged(tmp_path: Path) -> None:
    """In a grid that two data sets have, and along the lines of baselines."""
    counts = [(1, 1), (1, 5), (2, 1), (2, 5)]
    asked = [(name, *count) for name in ("mnist", "usps") for count in counts]
    for job, (name, images, steps) in enumerate(asked):
        own = 0.8 if name == "mnist" else 0.4
        typed = [
            f"distilled.images_per_class={images}",
            f"distilled.steps={steps}",
            f"dataset@init.source={name}",
        ]
        config = {"distilled": {"images_per_class": images, "steps": steps}}
        rows = [row("distilled", np.array([own])), row("random_real", np.array([own / 2]))]
        rows += [row("distilled_on_mlp", np.array([own / 4]))]
        write_run(tmp_path / str(job), overrides=["dataset=svhn", *typed], config=config, evaluation=rows)
    sweep_page.write_sweep(tmp_path)
    shown = text(tmp_path)
    charts = re.findall(r"<svg.*?</svg>", shown, re.DOTALL)
    heats = [chart for chart in charts if "over images per class and step and steps" in chart]
    assert [set(re.findall(r">(\d\d)</text>", chart)) for chart in heats] == [{"80"}, {"40"}]
    assert "dataset@init.source=mnist" in heats[0]
    points = [(steps, RecordedRun(tmp_path / str(job))) for job, (_, _, steps) in enumerate(asked)]
    lines = sweep_page._lines(points, ["dataset@init.source"], Metric("accuracy"), "random_real")
    assert {line.name: line.mean for line in lines} == {
        "random real, dataset@init.source=mnist": [40, 40],
        "random real, dataset@init.source=usps": [20, 20],
    }


def test_a_multirun_of_evaluations_has_its_baselines(tmp_path: Path) -> None:
    for job, architecture in enumerate(("mlp", "linear")):
        overrides = [f"architecture={architecture}"]
        write_run(tmp_path / str(job), **judged(overrides=overrides))
    sweep_page.write_sweep(tmp_path)
    assert [re.sub("<.*?>", "", name) for name in re.findall(r"<th\b.*?>(.*?)</th>", text(tmp_path))] == [
        "job", "architecture", "test", "", "min", "random real", "seconds", "status",
    ]  # fmt: skip
    ours = ["85.00 ± 3.95 %", "", "80.00 %", "45.00 %", "2.5", "finished"]
    assert cells(tmp_path) == [["0", "mlp", *ours], ["1", "linear", *ours]]
    assert "errors" not in sections(tmp_path)


def test_the_page_of_a_run_that_failed_says_why(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"status": "failed", "error": HOSTILE}))
    page.write_run(tmp_path)
    assert f"<p>{HOSTILE}</p>" in html.unescape(text(tmp_path))
    assert HOSTILE not in text(tmp_path)


def test_a_multirun_has_a_row_a_job_and_the_errors(sweep: Path) -> None:
    rows = cells(sweep)
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    assert [row[1] for row in rows] == ["1", "3", "0", ""]  # distilled.epochs; the steps are all the same
    assert [row[-1] for row in rows] == ["finished", "finished", "failed", "missing"]
    assert f'<dt>job 2</dt><dd class="bad">{HOSTILE}</dd>' in html.unescape(text(sweep))


@pytest.mark.parametrize("selection", ["validation", "paper"])
def test_the_reports_say_how_settings_were_chosen(selection: str, tmp_path: Path) -> None:
    ours = row("distilled", np.array([0.5])) | {"learning_rate": None, "epochs": None}
    choices = {"experiment": "mnist_random_100", "dataset": "mnist"}
    for job, rows in enumerate(([ours], [ours, row("random_real", np.array([0.4]))])):
        changes = {"selection": selection, "evaluation": rows, "choices": choices}
        write_run(tmp_path / "sweep" / str(job), **changes)
    sweep_page.write_sweep(tmp_path / "sweep")
    said = protocol(
        Result.model_validate({"selection": selection, "evaluation": [row("random_real", np.array([0.4]))]})
    )
    assert text(tmp_path / "sweep").count(said) == 1
    assert table.sweep(tmp_path / "sweep")["selection"].tolist()[1] == selection
    assert f"| {selection} |" in (tmp_path / "sweep" / "sweep.md").read_text()
    distill_report([str(tmp_path / "sweep"), "--output", str(tmp_path / "paper")])
    assert said in (tmp_path / "paper" / "paper.md").read_text()


def test_a_job_of_which_a_file_is_damaged_has_its_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On the page of the multirun; the other job, and its own page, are as they would be."""
    for job in "01":
        write_run(tmp_path / job, overrides=[f"seed={job}"])
    (tmp_path / "0" / "distilled.safetensors").write_bytes(b"nothing")
    failed: list[Path] = []
    made = distill_report([str(tmp_path)], failed)
    assert made == [tmp_path / page.PAGE, tmp_path / "1" / page.PAGE]
    assert failed == [tmp_path / "0"]
    damaged, sound = cells(tmp_path)
    assert (damaged[2], damaged[-1]) == ("", "damaged")
    assert (sound[2], sound[-1]) == ("85.00 ± 3.95 %", "finished")
    [error] = caplog.messages
    assert error.startswith(f"{tmp_path / '0' / 'distilled.safetensors'}: not a distilled dataset")
    assert f'<dt>job 0</dt><dd class="bad">{error}</dd>' in html.unescape(text(tmp_path))


@pytest.mark.parametrize("name", ["result.json", "evaluation.csv", "history.csv", "confusion.json"])
def test_a_damaged_file_is_named_once(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_run(tmp_path / "run")
    (folder / name).write_bytes(b'\xff"\0')
    with pytest.raises(UserError, match=f"{name}: .*(damaged|cannot be read)"):
        page.write_run(folder)
    assert caplog.messages == []


def test_a_picture_that_cannot_be_read_costs_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (write_run(tmp_path / "run") / "images" / "real.png").write_bytes(b"%!PS-Adobe-3.0")
    assert "images" in sections(page.write_run(tmp_path / "run").parent)
    [message] = caplog.messages
    assert message.startswith(f"{tmp_path / 'run' / 'images' / 'real.png'}: not a readable image")


def test_the_page_of_many_classes_is_a_part(tmp_path: Path) -> None:
    """100,000 classes of a pixel each: the page shows the first images and says how many it leaves out."""
    folder = write_run(tmp_path / "run")
    names = [f"class {number}" for number in range(100_000)]
    metadata = {**load_distilled(folder / "distilled.safetensors").metadata, "class_names": names}
    images, labels = torch.zeros(1, 100_000, 1, 1, 1), torch.arange(100_000).view(1, -1)
    DistilledSet(images, labels, torch.ones(1, 1), {}, metadata).save(folder / "distilled.safetensors")
    for name in ("confusion.json", "images/real.png", "evaluation.csv", "history.csv"):
        (folder / name).unlink()
    shown = text(page.write_run(folder).parent)
    assert shown.count("<figure") == MOST
    assert f"Another {100_000 - MOST} images are left out." in shown


def test_a_line_of_a_chart_goes_through_its_points() -> None:
    """Read back from the SVG, whose coordinates are an affine function of the numbers."""
    x, mean = [1, 5, 10], [20.0, 70.0, 60.0]
    drawn = charts.against([charts.Series("a", x, mean, [1, 1, None])], "accuracy", "steps")
    number = r"(-?[\d.]+) (-?[\d.]+)"
    [line] = re.findall(rf'd="M {number}\s+L {number}\s+L {number}\s*"', drawn)
    points = np.array(line, dtype=float).reshape(3, 2)
    for found, expected in zip(points.T, (x, mean), strict=True):
        assert abs(np.corrcoef(found, expected)[0, 1]) > 1 - 1e-9


def test_the_distribution_is_of_finite_values() -> None:
    """Neighbours have no loss, and a network that diverged has an infinite one."""
    losses = {"distilled": [1.0, 2.0, np.inf], "neighbours": [np.nan, np.nan]}
    runs = pandas.DataFrame([{"method": m, "loss": v} for m, found in losses.items() for v in found])
    [drawn] = charts.distributions(runs, [Metric("loss", higher_is_better=False, percent=False)]).values()
    [axis] = drawn.axes
    assert [text.get_text() for text in axis.texts] == ["distilled"]
    assert [line.get_xdata()[0] for line in axis.lines] == [1.5]  # the mean


def test_a_line_pools_the_seeds_of_a_point(tmp_path: Path) -> None:
    """Against the mean and standard deviation of all runs together."""
    found = []
    accuracies = {0: np.array([0.5, 0.7]), 1: np.array([0.8, 0.9])}
    for seed, values in accuracies.items():
        changes = {"evaluation": [row("distilled", values)], "overrides": [f"seed={seed}"]}
        found.append((10, RecordedRun(write_run(tmp_path / str(seed), **changes))))
    [line] = sweep_page._lines(found, [], Metric("accuracy"), "distilled")
    together = 100 * np.concatenate(list(accuracies.values()))
    np.testing.assert_allclose([*line.mean, *line.std], [together.mean(), together.std(ddof=1)])


@pytest.mark.parametrize("key", ["distilled.inner_steps", "distilled.epochs", "training.epochs"])
def test_a_sweep_over_steps_is_one_line(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever key changes their number, which is twice that of the epochs here."""
    drawn: dict[str, list[drawing.Series]] = {}
    monkeypatch.setattr(
        charts, "against", lambda lines, axis, title: drawn.update({title: lines}) or f"{axis}, {title}"
    )
    runs = []
    for epochs in (1, 4):
        config = {"seed": 0, "distilled": {"steps": 2, "images_per_class": 1}, "training": {"epochs": epochs}}
        changes = {"config": config, "overrides": [f"{key}={2 * epochs}"]}
        runs.append(RecordedRun(write_run(tmp_path / str(epochs), **changes)))
    assert sweep_page._against(runs, [key]) == ["test accuracy, %, inner steps"]
    assert [(line.name, line.x) for line in drawn["inner steps"] if not line.dashed] == [("", [2, 8])]


def test_the_chosen_step_counts_from_one() -> None:
    """Row 99 is of the hundredth outer step, after which it was validated."""
    history = pandas.DataFrame({"step": [49, 99, 149], "validation/accuracy": [0.7, 0.87, 0.8]})
    [drawn] = charts.curves(history, Metric("accuracy"))
    assert "chosen: after 100 steps" in drawn


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_without_a_finite_validation_nothing_is_marked_as_chosen(value: float) -> None:
    history = pandas.DataFrame({"step": [49, 99], "validation/excess_loss": [value, value]})
    [drawn] = charts.curves(history, Metric("excess_loss", higher_is_better=False, percent=False))
    assert "validation excess loss" in drawn
    assert "chosen" not in drawn


def test_the_colours_are_the_pages(run: Path) -> None:
    for stand_in in drawing.THEME.values():
        assert stand_in not in text(run)
    assert "var(--accent)" in text(run)


# In a browser.

MEASURE = (Path(__file__).parents[1] / "support" / "measure.html").read_text()


def chromium(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs the browser Chromium (Debian: apt-get install chromium)")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    started = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *quiet]
    command = [*started, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)


def test_a_browser_shows_it_whole(
    run: Path, sweep: Path, judged_run: Path, alone: Path, tmp_path: Path
) -> None:
    folders = {"run": run, "sweep": sweep, "judged": judged_run, "alone": alone}
    shown = {name: text(folder) for name, folder in folders.items()}
    pages = json.dumps(shown).replace("</", "<\\/")
    (tmp_path / "measure.html").write_text(MEASURE.replace("PAGES", pages))
    told = chromium(
        "--dump-dom", "--virtual-time-budget=20000", f"file://{tmp_path / 'measure.html'}", folder=tmp_path
    ).stdout
    title = re.search("<title>(.*?)</title>", told, re.DOTALL)
    assert title is not None
    found = json.loads(html.unescape(title[1]))
    assert set(found) == {f"{name} {width}" for name in folders for width in (400, 1280)}
    for name, measured in found.items():
        assert measured["overlaps"] == [], name
        assert measured["outside"] == [], name
        assert measured["scroll"] <= int(name.split()[1]), name
        assert measured["boxes"] > 10
    assert found["run 400"]["texts"] > 20
    assert [natural for natural, _ in found["run 400"]["images"]] == [8] * 12
    assert min(width for _, width in found["run 400"]["images"]) >= 60  # a size that a person can see


def test_the_console_stays_empty(run: Path, sweep: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text("<script>nonsense()</script>")
    logged = [
        "CONSOLE"
        in chromium("--enable-logging=stderr", "--dump-dom", f"file://{path}", folder=tmp_path).stderr
        for path in (spoilt, run / page.PAGE, sweep / page.PAGE)
    ]
    assert logged == [True, False, False]
