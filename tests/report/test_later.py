"""The page of later methods: which of our runs stand in which cell, beside the numbers as printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dataset_distillation.report import paper
from support.experiments import CONF
from support.report_folders import judged, pages, result, row


def run(folder: Path, experiment: str, accuracy: float, seed: int = 0) -> None:
    outcome = result(
        evaluation=[row("distilled", np.array([accuracy]))], provenance={"cpu_seconds": 1800 + seed}
    )
    outcome["choices"] |= {"experiment": experiment, "augmentation": "dsa"}
    outcome["overrides"] = [f"experiment={experiment}", f"seed={seed}"]
    outcome["config"] |= {"seed": seed, "architecture": {"width": 32}}
    write(folder, outcome)


def judge(
    folder: Path,
    artifact: str,
    accuracy: float,
    width: int,
    training: str = "dc",
    by: str = "none",
    more: tuple[str, ...] = (),
    rivals: Mapping[str, float] = {},
    steps: int = 1500,
) -> None:
    """`rivals`: the accuracy of other methods; each has taken as many hours."""
    others = [row(method, np.array([value])) | {"seconds": 3600 * value} for method, value in rivals.items()]
    outcome = result(**judged(), evaluation=[row("distilled", np.array([accuracy])), *others])
    outcome["choices"] |= {"training": training, "augmentation@training.augmentation": by}
    outcome["config"] |= {"architecture": {"width": width}, "evaluation": {"matching_steps": steps}}
    outcome["overrides"] = [f"artifact={artifact}", *more]
    if training == "dc":
        by = f"+augmentation@training.augmentation={by}"
        outcome["overrides"] += ["training=dc", f"architecture.width={width}", by]
    write(folder, outcome | {"artifact": artifact})


def write(folder: Path, outcome: dict[str, object]) -> None:
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(outcome))


def rows(page: str) -> dict[tuple[str, ...], dict[str, str]]:
    """The cells of the page by column, and those rows by their first two cells, or one."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    head: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line[1:-1].split("|")]
        if line[:1] != "|":
            head = []
        elif not head:
            head = cells
        else:
            found[tuple(cells[:2]) if head[0] == "data" else (cells[0],)] = dict(
                zip(head, cells, strict=True)
            )
    return found


def test_the_numbers_are_complete() -> None:
    """Against a few that were typed once more; every experiment of the field's setting has its place."""
    content = paper.published(paper.LATER)
    published = {(row["data"], row["images"]): row["published"] for row in content["rows"]}
    assert all(set(row) <= set(content["methods"]) for row in published.values())
    assert published["MNIST", 1]["DC"] == "91.7"
    assert published["CIFAR-10", 50] == {
        "DC": "53.9", "DSA": "60.6", "MTT": "71.6", "FRePo": "71.7", "RaT-BPTT": "75.3", "AT-BPTT": "78.7",
    }  # fmt: skip
    named = sorted(experiment for row in content["rows"] for experiment in row["experiments"])
    assert named == sorted(path.stem for path in (CONF / "experiment").glob("*_convnet_*.yaml"))


def test_each_judgment_stands_in_its_column(tmp_path: Path) -> None:
    experiment = "mnist_convnet_1_small"
    for seed, accuracy in ((0, 0.90), (1, 0.92)):
        run(tmp_path / f"{seed}", experiment, accuracy, seed)
        artifact = f"results/{experiment}/seed_{seed}/distilled.safetensors"
        judge(tmp_path / f"{seed} at 32", artifact, accuracy - 0.1, 32)
        judge(tmp_path / f"{seed} at 128", artifact, accuracy + 0.01, 128)
        judge(tmp_path / f"{seed} augmented", artifact, accuracy + 0.02, 128, by="dsa")
        judge(tmp_path / f"{seed} otherwise", artifact, 0.4, 128, by="shift_rotate")
        judge(tmp_path / f"{seed} by itself", artifact, 0.5, 128, training="ours")
        judge(tmp_path / f"{seed} longer", artifact, 0.6, 128, more=("training.epochs=1000",))
        judge(tmp_path / f"{seed} of another net", artifact, 0.7, 128, more=("architecture=mlp",))
    judge(tmp_path / "of others", "results/mnist_convnet_1/seed_0/distilled.safetensors", 0.1, 128)
    written = pages(tmp_path)
    found = rows(written["later.md"])
    spread = f"(2 seeds: ± {np.std([90, 92], ddof=1):.1f})"
    assert list(found[f"`{experiment}`",].values()) == [
        f"`{experiment}`", "32", f"91.0 {spread}", f"81.0 {spread}", f"92.0 {spread}",
        f"**93.0 {spread}**", "0.5",
    ]  # fmt: skip
    assert found["MNIST", "1"]["**ours**"] == f"**93.0 {spread}**"
    assert found["MNIST", "1"]["IDC"] == "94.2"
    assert found["MNIST", "10"]["**ours**"] == ""


def test_rivals_stand_beside_ours_where_networks_were_trained_alike(tmp_path: Path) -> None:
    experiment = "mnist_convnet_1_small"
    artifact = f"results/{experiment}/seed_0/distilled.safetensors"
    run(tmp_path / "0", experiment, 0.9)
    rivals = {"random_real": 0.6, "distribution_matching": 0.8, "gradient_matching": 0.7}
    judge(tmp_path / "augmented", artifact, 0.91, 32, by="dsa", rivals=rivals)
    judge(tmp_path / "later", artifact, 0.92, 32, by="dsa")  # without rivals, it is not the row's
    judge(tmp_path / "plain", artifact, 0.5, 32, rivals=dict.fromkeys(rivals, 0.1))
    judge(tmp_path / "1", artifact.replace("seed_0", "seed_1"), 0.93, 32, by="dsa", rivals=rivals)
    few = dict.fromkeys(rivals, 0.2)
    judge(tmp_path / "2", artifact.replace("seed_0", "seed_2"), 0.4, 32, by="dsa", rivals=few, steps=10)
    [line] = [line for line in pages(tmp_path)["later.md"].splitlines() if "1,500" in line]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == [
        f"`{experiment}`", "32", "**92.0 (2 seeds: ± 1.4)**", "60.0 (2 seeds: ± 0.0)", "",
        "1,500", "80.0 (2 seeds: ± 0.0)", "0.8", "70.0 (2 seeds: ± 0.0)", "0.7",
    ]  # fmt: skip


def test_without_rivals_there_is_no_table_of_them(tmp_path: Path) -> None:
    run(tmp_path / "0", "mnist_convnet_1_small", 0.9)
    judge(tmp_path / "a", "results/mnist_convnet_1_small/seed_0/distilled.safetensors", 0.9, 32, by="dsa")
    assert "Judged alike" not in pages(tmp_path)["later.md"]


def test_without_augmented_judgments_there_is_no_column_of_them(tmp_path: Path) -> None:
    experiment = "mnist_convnet_1_small"
    run(tmp_path / "0", experiment, 0.9)
    judge(tmp_path / "at 128", f"results/{experiment}/seed_0/distilled.safetensors", 0.91, 128)
    written = pages(tmp_path)
    columns = ["experiment", "width", "own schedule", "`training=dc`", "`training=dc`, width 128", "hours"]
    found = rows(written["later.md"])
    assert list(found[f"`{experiment}`",]) == columns
    assert found["MNIST", "1"]["**ours**"] == found[f"`{experiment}`",][columns[4]] == "**91.0**"


@pytest.mark.parametrize("training", ["ours", "dc"])
def test_only_the_own_schedule_is_compared_on_other_networks(training: str, tmp_path: Path) -> None:
    artifact = "results/demo/seed_0/distilled.safetensors"
    judge(tmp_path / "judged", artifact, 0.5, 128, training, more=("architecture=mlp", "init=random"))
    written = pages(tmp_path)
    assert ("`demo/seed_0`" in written["paper.md"]) == (training == "ours")


@pytest.mark.parametrize("more", ["training.epochs=20", "dataset=usps", "architecture.width=32"])
def test_what_was_judged_otherwise_is_not_compared_on_other_networks(more: str, tmp_path: Path) -> None:
    artifact = "results/demo/seed_0/distilled.safetensors"
    judge(tmp_path / "0", artifact, 0.5, 128, "ours", more=("architecture=mlp", "init=random"))
    judge(tmp_path / "1", artifact, 0.4, 128, "ours", more=("architecture=mlp", "init=random", more))
    written = pages(tmp_path)
    [line] = [line for line in written["paper.md"].splitlines() if "demo/seed_0" in line]
    assert "50.00" in line
