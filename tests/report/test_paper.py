"""The paper's tables and figures: its numbers as printed, ours beside them from the runs that there are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_distillation.cli.pages import main
from dataset_distillation.errors import UserError
from dataset_distillation.report import paper
from support.experiments import CONF
from support.report_folders import judged, pages, result, row


def run(folder: Path, experiment: str, dataset: str = "mnist", **changes: object) -> None:
    folder.mkdir(parents=True)
    outcome = result(**changes)
    outcome["choices"] |= {"experiment": experiment, "dataset": dataset}
    outcome["overrides"] = [f"experiment={experiment}", *outcome["overrides"]]
    (folder / "result.json").write_text(json.dumps(outcome))


def lines(page: str) -> dict[str, list[str]]:
    """The rows of all tables of a page by their first cell."""
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in page.splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1:] for cells in rows}


def test_a_damaged_run_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed in (0, 1):
        run(tmp_path / str(seed), "mnist_fixed_100", seed=seed)
    (tmp_path / "1" / "result.json").write_text('{"status": "fini')
    main([str(tmp_path), "--output", str(tmp_path / "paper")])
    [told] = caplog.messages
    assert told.startswith(f"{tmp_path / '1' / 'result.json'}: ")
    assert "`../0`: `distill" in (tmp_path / "paper" / "paper.md").read_text()


def test_the_numbers_are_complete() -> None:
    """Against a few that were typed from the paper once more."""
    content = paper.published()
    tables = {table["name"]: table for table in content["tables"]}
    for table in tables.values():
        for cells in table["rows"]:
            assert len(cells["paper"]) == len(table["columns"])
            assert all(
                max(gain["of"], gain["over"]) < len(table["columns"]) for gain in table.get("gains", [])
            )
            assert set(cells["runs"]) == {column["run"] for column in table["columns"] if "run" in column}
            numbers = [number for number in map(paper.number, cells["paper"]) if number]
            assert all(0 < number.mean < 100 for number in numbers)
            ours_alone = [
                c["title"] for c, own in zip(table["columns"], cells["paper"], strict=True) if not own
            ]
            assert ours_alone == (["herding", "k-center"] if table["name"] == "table1" else [])
    assert tables["table1"]["rows"][0]["paper"][7] == "92.2 ± 0.1"
    assert tables["table2"]["rows"][2]["paper"][:2] == ["96.2", "85.2 ± 4.7"]
    assert tables["table3"]["rows"][1]["paper"][0] == "38.76"
    figures = {figure["name"]: figure for figure in content["figures"]}
    for figure in figures.values():
        for panel in figure["panels"]:
            assert len({tuple(line["paper"]) for line in panel["lines"]}) == 1  # the same x
    assert figures["figure4"]["panels"][0]["lines"][0]["paper"][30] == "76.6 ± 18.6"
    assert figures["figure5"]["panels"][0]["lines"][0]["paper"][30] == "83.6 ± 5.1"


def test_the_experiments_that_are_named_exist() -> None:
    content = paper.published()
    named = {e for table in content["tables"] for cells in table["rows"] for e in cells["runs"].values()}
    lines = [line for f in content["figures"] for p in f["panels"] for line in p["lines"]]
    named |= {experiment for line in lines for experiment in line["experiments"]}
    assert named <= {path.stem for path in (CONF / "experiment").glob("*.yaml")}


def test_ours_stand_below_the_papers(tmp_path: Path) -> None:
    ours = np.array([0.8, 0.9])
    for name, mean, started in (("old", 0.1, "2020"), ("new", 0.0, "2021")):
        rows = [row("distilled", ours - mean), row("nearest_neighbour_k_means", ours + 0.05)]
        run(tmp_path / "a" / name, "mnist_random_100", evaluation=rows, provenance={"started": started})
    run(tmp_path / "b" / "deep" / "fixed", "mnist_fixed_100", evaluation=[row("distilled", ours[:1])])
    run(tmp_path / "other", "mnist_fixed_10", evaluation=[row("distilled", ours)])
    written = main([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "out")])
    names = {f"{name}.md" for name in ("opening", "summary", "paper", "later", "factors")}
    pictures = {f"{name}.png" for name in ("table1", "table2", "table3", "figure4", "figure5", "figure6")}
    assert {path.name for path in written} == names | pictures
    text = (tmp_path / "out" / "paper.md").read_text()
    assert text.count("Better than the distilled data: nearest neighbors on k-means (90.00 ± 7.07 %).") == 1
    found = lines(text)
    assert found["MNIST, paper"][:2] == ["96.6", "79.5 ± 8.1"]
    assert found["MNIST, ours"] == [
        "**80.0**",
        "**85.0 ± 7.1**",
        "",
        "",
        "",
        "",
        "",
        "**90.0 ± 7.1**",
        "",
        "",
    ]
    assert found["CIFAR10, ours"] == [""] * 10
    assert "`../a/new`" in text
    assert "../a/old" not in text
    for name in pictures:
        with Image.open(tmp_path / "out" / name) as picture:
            assert min(picture.size) > 200


def test_the_readme_opens_with_the_share_of_full_training(tmp_path: Path) -> None:
    """Only of experiments that have been compared with full training."""
    for experiment, ours, full in [("mnist_fixed_10", 0.9, []), ("mnist_random_100_adam", 0.72, [0.96])]:
        rows = [row("distilled", np.array([ours])), *(row("full_training", np.array([a])) for a in full)]
        run(tmp_path / experiment, experiment, evaluation=rows)
    written = pages(tmp_path)
    [line] = written["opening.md"].splitlines()
    told = "bring them to 72.0 % on MNIST's test set: 75 % of what the whole training set gives (96.0 %)."
    assert line.endswith(told)


def test_what_is_better_than_the_distilled_data_is_said_under_the_summary(tmp_path: Path) -> None:
    """Over the seeds; full training always is. The worst network may have none right."""
    for seed, real in enumerate([0.7, 0.8]):
        rows = [row("distilled", np.array([0.0, 1.0])), row("random_real", np.array([real]))]
        rows += [row("k_means", np.array([real - 0.4])), row("full_training", np.array([0.9]))]
        rows += [row("distilled_on_mlp", np.array([0.95]))]
        run(tmp_path / f"{seed}", "mnist_random_100", evaluation=rows, config={"seed": seed})
    written = pages(tmp_path)
    page = written["summary.md"]
    told = "besides full training, these beat the distilled data: in `mnist_random_100` random real 75.00 (2"
    assert told in page
    assert "k-means" not in page
    assert "| 0.00 |" in page


def test_an_attack_is_told_by_the_share_that_it_hits_too(tmp_path: Path) -> None:
    """And by the steps that the baseline took, of all seeds; the least processor time counts."""
    for seed, (hit, steps, seconds) in enumerate([(0.5, 10, 600.0), (0.7, 30, 60.0)]):
        accuracy = np.array([0.8, 0.9])
        rows = [row("distilled", accuracy), row("random_real", accuracy - 0.1) | {"steps": steps}]
        hits = row("", np.array([hit, hit + 0.2]))
        rows[0]["metrics"] = {
            "attacked_as_target": {name: hits[name] for name in ("mean", "std", "min", "max")}
        }
        told, cost = {"seed": seed}, {"cpu_seconds": seconds}
        run(tmp_path / f"{seed}", "attack_mnist", evaluation=rows, config=told, provenance=cost)
    written = pages(tmp_path)
    found = lines(written["summary.md"])
    assert found["`attack_mnist`"][2] == "**85.00 ± 7.07 (2 seeds: ± 0.00)**"
    assert found["`attack_mnist`"][4] == "75.00 ± 7.07 (2 seeds: ± 0.00), 10 to 30 steps"
    shares = found["`attack_mnist`, 0s taken for 1s"]
    assert shares[1:4] == ["71.4 ± 29.7", "**70.00 ± 14.14 (2 seeds: ± 14.14)**", "50.00"]
    assert shares[-1] == "1 min"


def test_what_distillation_adds_to_random_real_images_stands_behind_table_2(tmp_path: Path) -> None:
    rows = [row("distilled", np.array([0.9, 0.8])), row("random_real", np.array([0.7]))]
    run(tmp_path / "a", "usps_to_mnist", evaluation=rows)
    written = pages(tmp_path)
    found = lines(written["paper.md"])
    assert [found[f"USPS → MNIST, {whose}"][-1] for whose in ("paper", "ours")] == ["+5.6", "**+15.0**"]
    assert found["SVHN → MNIST, ours"][-1] == ""


def test_baselines_that_were_chosen_in_different_ways_are_not_averaged(tmp_path: Path) -> None:
    for seed, (selection, real) in enumerate([("paper", 0.9), ("validation", 0.6), ("validation", 0.7)]):
        rows = [row("distilled", np.array([0.8])), row("random_real", np.array([real]))]
        config = {"seed": seed}
        run(tmp_path / f"{seed}", "mnist_random_100", evaluation=rows, config=config, selection=selection)
    written = pages(tmp_path)
    found = lines(written["paper.md"])["MNIST, ours"]
    assert found[1:3] == ["**80.0 (3 seeds: ± 0.0)**", "**65.0 (2 seeds: ± 7.1)**"]


def test_several_seeds_are_told_apart_from_several_networks(tmp_path: Path) -> None:
    """The mean of the seeds' means; the root of the mean variance within them; the std between the means."""
    for seed, (low, high) in enumerate([(0.80, 0.90), (0.70, 0.90), (0.60, 0.60)]):
        rows = [row("distilled", np.array([low, high])), row("random_real", np.array([low]))]
        for again in ("first", "last"):  # of two runs of a seed, one counts
            config = {"seed": seed, "distilled": {"steps": 10}}
            run(tmp_path / f"{seed} {again}", "mnist_random_100", evaluation=rows, config=config)
    written = pages(tmp_path)
    within = np.sqrt(np.mean([np.var([80, 90], ddof=1), np.var([70, 90], ddof=1), 0]))
    between = np.std([85, 80, 60], ddof=1)
    found = lines(written["paper.md"])["MNIST, ours"]
    assert found[1] == f"**75.0 ± {within:.1f} (3 seeds: ± {between:.1f})**"
    assert found[2] == f"**70.0 (3 seeds: ± {np.std([80, 70, 60], ddof=1):.1f})**"


@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        ("seed=7 evaluation.networks=50 evaluation.baselines=[k_means] evaluation.selection=paper", True),
        ("dataset.root=there init.source.root=there init.pretraining.folder=pools trainer=cpu", True),
        ("unroll.compile=true unroll.stored=true", True),
        ("dataset=usps", False),
        ("unroll.window=5", False),
        ("dataset.test=null", False),
        ("distilled={steps:1,epochs:3}", False),
        ("outer.steps=10", False),
        ("init=fixed", False),
    ],
)
def test_only_the_experiment_as_it_is_published_counts(asked: str, counts: bool, tmp_path: Path) -> None:
    evaluation = [row("distilled", np.array([0.5]))]
    run(tmp_path / "run", "mnist_random_100", overrides=asked.split(), evaluation=evaluation)
    written = pages(tmp_path)
    assert lines(written["paper.md"])["MNIST, ours"][1] == ("**50.0**" if counts else "")


@pytest.mark.parametrize(("steps", "counts"), [(30, True), (29, False)])
def test_a_budget_of_minutes_counts_where_it_ended_the_run(steps: int, counts: bool, tmp_path: Path) -> None:
    evaluation, asked = [row("distilled", np.array([0.5]))], ["outer.minutes=150"]
    run(tmp_path / "run", "mnist_random_100", overrides=asked, evaluation=evaluation, outer_steps=steps)
    written = pages(tmp_path)
    assert lines(written["paper.md"])["MNIST, ours"][1] == ("**50.0**" if counts else "")


def test_an_artifact_that_was_judged_again_is_no_run_of_its_experiment(tmp_path: Path) -> None:
    run(tmp_path / "judged", "mnist_random_100", **judged())
    written = pages(tmp_path)
    assert lines(written["paper.md"])["MNIST, ours"] == [""] * 10


def test_what_the_runs_lack_is_of_those_that_judge_the_published_set(tmp_path: Path) -> None:
    """With nothing changed; what a run has stays its own."""
    run(tmp_path / "0", "mnist_random_100", evaluation=[row("distilled", np.array([0.8]))])
    for name, rows, asked in (
        ("a", {"distilled": 0.5, "average_real": 0.7}, []),
        ("b", {"optimized_real": 0.6}, []),
        ("c", {"average_real": 0.1}, ["init=fixed"]),
    ):
        others = [row(method, np.array([mean])) for method, mean in rows.items()]
        run(tmp_path / name, "artifact", **judged(evaluation=others))
        path = tmp_path / name / "result.json"
        outcome = json.loads(path.read_text())
        outcome["artifact"] = "results/mnist_random_100/seed_0/distilled.safetensors"
        outcome["overrides"] = ["artifact=x", *asked]
        path.write_text(json.dumps(outcome))
    text = pages(tmp_path)["paper.md"]
    ours = lines(text[: text.index("## Table 2")])["MNIST, ours"]
    assert ours == ["", "**80.0**", "", "**60.0**", "", "**70.0**", "", "", "", ""]
    assert [f"- `../{name}`" in text for name in "0abc"] == [True, True, True, False]


def test_the_points_of_a_figure_are_those_of_its_runs(tmp_path: Path) -> None:
    for number, (steps, images, epochs) in enumerate([(1, 1, 1), (5, 1, 1), (1, 5, 1)]):
        config = {"distilled": {"steps": steps, "images_per_class": images, "epochs": epochs}}
        rows = [row("distilled", np.array([steps / 10 + images / 100]))]
        asked = [f"distilled={{steps:{steps},images_per_class:{images}}}"]
        run(tmp_path / str(number), "figure5", config=config, evaluation=rows, overrides=asked)
        run(tmp_path / f"{number} fixed", "figure5", overrides=[*asked, "init=fixed"], config=config)
        run(tmp_path / f"{number} usps", "figure5", "usps", overrides=[*asked, "dataset=usps"], config=config)
    for number, (steps, epochs) in enumerate([(10, 2), (10, 1), (20, 2)]):
        config = {"distilled": {"steps": steps, "images_per_class": 1, "epochs": epochs}}
        rows = [row("distilled", np.array([steps / 100 + epochs / 1000]))]
        run(tmp_path / "4" / str(number), "figure4", config=config, evaluation=rows)
    written = pages(tmp_path)
    found = lines(written["paper.md"])
    assert found["MNIST: images per class"] == ["1", "5", "10", "20", "30"]
    assert found["N steps, ours"] == [""] * 5  # of CIFAR10, which comes last
    text = written["paper.md"]
    assert "| N steps, ours | **11.0** | **51.0** |  |  |  |" in text
    assert "| one step, ours | **11.0** | **15.0** |  |  |  |" in text
    assert "| distilled, ours |  |  | **10.2** | **20.2** |  |" in text
    assert "| distilled, ours | **10.1** | **10.2** |  |  |  |" in text


def test_the_points_of_an_attack_are_those_of_its_multirun_and_of_its_runs(tmp_path: Path) -> None:
    for experiment, dataset, images in (
        ("figure6", "mnist", 1),
        ("figure6", "mnist", 30),
        ("attack_mnist", "mnist", 10),
        ("attack_mnist", "cifar10", 20),
        ("attack_cifar10", "cifar10", 5),
    ):
        config = {"distilled": {"steps": 1, "images_per_class": images, "epochs": 1}}
        rows = [row("distilled", np.array([images / 100]))]
        rows[0]["metrics"]["attacked_as_target"] = {"mean": images / 50, "std": 0.0}
        asked = [f"distilled.images_per_class={images}"]
        if (experiment, dataset) == ("attack_mnist", "cifar10"):
            asked.append(f"dataset={dataset}")  # and so another attack
        folder = tmp_path / f"{dataset}{images}"
        run(folder, experiment, dataset, config=config, evaluation=rows, overrides=asked)
    written = pages(tmp_path)
    text = written["paper.md"]
    assert [line for line in text.splitlines() if "**" in line] == [
        "| distilled, ours | **1.0** |  | **10.0** |  | **30.0** |",
        "| distilled, ours | **2.0** |  | **20.0** |  | **60.0** |",
        "| distilled, ours |  | **5.0** |  |  |  |",
        "| distilled, ours |  | **10.0** |  |  |  |",
    ]


def test_a_run_that_goes_on_has_no_page_yet(tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()
    with pytest.raises(UserError, match="a run that has not ended yet; its page is written at its end"):
        main([str(tmp_path)])


@pytest.mark.parametrize("missing", ["nothing", "."])
def test_a_folder_without_runs_is_refused(missing: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder|neither a run nor a multirun"):
        main([str(tmp_path / missing)])
