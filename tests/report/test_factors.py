"""The page of what each choice gives: which runs stand in which cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dataset_distillation.cli.pages import main
from dataset_distillation.report import paper
from support.experiments import CONF
from support.report_folders import pages, result, row


def run(folder: Path, experiment: str, accuracy: float, *overrides: str, **config: Any) -> None:
    measured = {"distilled": accuracy, **config.pop("others", {})}
    outcome = result(evaluation=[row(method, np.array([mean])) for method, mean in measured.items()])
    outcome["choices"] |= {"experiment": experiment, "inner_optimizer": "adam", **config.pop("choices", {})}
    outcome["overrides"] = [f"experiment={experiment}", *overrides]
    outcome["config"] |= {"seed": config.pop("seed", 0)}
    for group, values in config.items():
        outcome["config"][group] = outcome["config"].get(group, {}) | values
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(outcome))


def rows(tmp_path: Path, title: str) -> dict[str, list[str]]:
    """The cells of the table under `title` by the first cell of their row."""
    lines = pages(tmp_path)["factors.md"].partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line[:1] == "|"]
    return {first: rest for first, *rest in cells if "---" not in first}


def test_a_grid_of_images_and_steps(tmp_path: Path) -> None:
    for number, (images, steps, seed, accuracy) in enumerate(
        [(1, 1, 0, 0.5), (1, 10, 0, 0.6), (1, 10, 1, 0.7), (5, 10, 0, 0.9)]
    ):
        counts = {"images_per_class": images, "steps": steps}
        typed = [f"distilled.{key}={value}" for key, value in counts.items()]
        run(tmp_path / f"{number}", "mnist_counts", accuracy, *typed, distilled=counts, seed=seed)
    run(tmp_path / "other", "mnist_counts", 0.1, "outer.steps=3", outer={"steps": 3})
    found = rows(tmp_path, "Images and steps")
    assert found[""] == ["1 per class", "5 per class"]
    assert found["1 step"] == ["50.0", ""]
    assert found["10 steps"] == ["65.0 (2 seeds: ± 7.1)", "90.0"]
    main([str(tmp_path), "--output", str(tmp_path / "out")])
    assert (tmp_path / "out" / "counts.png").read_bytes().startswith(b"\x89PNG")


def test_without_runs_there_is_no_picture(tmp_path: Path) -> None:
    run(tmp_path / "0", "demo", 0.5)
    assert rows(tmp_path, "One factor at a time, on LeNet")["the recipe"] == ["", "", ""]
    main([str(tmp_path), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "counts.png").exists()
    page = (tmp_path / "out" / "factors.md").read_text()
    assert "counts.png" not in page
    assert "There is no run of ours yet." in page


def test_one_factor_at_a_time(tmp_path: Path) -> None:
    recipe = "mnist_random_100_adam"
    run(tmp_path / "0", recipe, 0.93)
    run(tmp_path / "1", recipe, 0.91, "distilled.labels=fixed", distilled={"labels": "fixed"})
    sgd = ["inner_optimizer=sgd", "distilled.learning_rate=0.02"]
    run(
        tmp_path / "2",
        recipe,
        0.87,
        *sgd,
        choices={"inner_optimizer": "sgd"},
        distilled={"learning_rate": 0.02},
    )
    two = ["distilled.labels=fixed", "distilled.start=noise"]
    run(tmp_path / "3", recipe, 0.1, *two, distilled={"labels": "fixed", "start": "noise"})
    run(tmp_path / "real", recipe, 0.92999, "distilled.start=real", distilled={"start": "real"})
    run(tmp_path / "4", recipe, 0.95, "seed=1", seed=1)  # of which no other row has a run
    found = rows(tmp_path, "One factor at a time, on LeNet")
    assert found["the recipe"] == ["", "94.00 (2 seeds: ± 1.41)", ""]
    assert found["labels stay one class per image"] == ["`distilled.labels=fixed`", "91.00", "-2.00"]
    assert found["SGD instead of Adam in the inner steps"][1:] == ["87.00", "-6.00"]
    assert found["from real images instead of centroids"][2] == "+0.00"  # of -0.001
    assert found["from noise"][1:] == ["", ""]


def test_one_factor_at_a_time_at_two_widths(tmp_path: Path) -> None:
    recipe, wide = "ablation_mnist_convnet", "distilled_on_convnet"
    run(tmp_path / "0", recipe, 0.88, others={wide: 0.92})
    augmented = {"augmentation": "shift_rotate", "augmentation@training.augmentation": "shift_rotate"}
    typed = [f"{group}={choice}" for group, choice in augmented.items()]
    run(tmp_path / "1", recipe, 0.87, *typed, choices=augmented, others={wide: 0.93})
    run(tmp_path / "2", recipe, 0.1, typed[0], choices={"augmentation": "shift_rotate"}, others={wide: 0.1})
    found = rows(tmp_path, "One factor at a time, on ConvNet-3")
    assert found[""] == ["options", "width 32", "change", "width 128", "change"]
    assert found["the recipe"] == ["", "88.00", "", "92.00", ""]
    [row] = [cells for cells in found.values() if cells[0].startswith("`augmentation=shift_rotate`")]
    assert row[1:] == ["87.00", "-1.00", "93.00", "+1.00"]
    assert found["whitened images"][1:] == ["", "", "", ""]


def test_the_page_names_experiments_that_there_are() -> None:
    content = paper.published(paper.FACTORS)
    for part in (content["counts"], *content["ablations"]):
        assert (CONF / "experiment" / f"{part['experiment']}.yaml").exists()
