"""Tables against numbers that were worked out another way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from dataset_distillation.objectives import Metric
from dataset_distillation.report import page, sweep_page, table
from dataset_distillation.report.methods import show_methods
from dataset_distillation.run.records import Result
from support.report_folders import result, row, write_run


def test_a_table_shows_shares_in_percent_and_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    mean = table.Cell(0.12345, Metric("accuracy"))
    table.show("[all]", [{"method": "[bold]", "mean": mean, "runs": table.Cell(3)}])
    shown = capsys.readouterr().out
    assert "[all]" in shown
    assert ["[bold]", "12.35 %", "3"] in [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines()
    ]


def test_a_loss_is_no_percentage(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = [Metric("accuracy"), Metric("excess_loss", higher_is_better=False, percent=False)]
    table.show("both", [{"metric": metric.name, "mean": table.Cell(0.12345, metric)} for metric in metrics])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [line.split("│")[2].strip() for line in lines] == ["12.35 %", "0.1235"]


def test_what_has_no_value_is_shown_as_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table of the methods, that of a sweep and on both pages."""
    nothing = dict.fromkeys(("mean", "std", "min", "max", "difference", "low", "high"))
    rows = [row("distilled", np.ones(2)) | nothing, row("closed_form", np.ones(2))]
    for record in rows:
        spread = {key: record[key] for key in ("mean", "std", "min", "max")}
        record["metrics"] = {"excess_loss": spread}
    outcome = result(metric="excess_loss", validation_excess_loss=None, evaluation=rows, storage=None)
    folder = write_run(tmp_path / "0")
    (folder / "result.json").write_text(json.dumps(outcome))
    (folder / "evaluation.csv").unlink()
    show_methods(Result.model_validate(outcome), "linear_regression")
    assert "None" not in capsys.readouterr().out
    assert pandas.isna(table.sweep(tmp_path)["mean"][0])
    for made in (page.write_run(folder), sweep_page.write_sweep(tmp_path)):
        assert "<td>None" not in made.read_text()


@pytest.mark.parametrize(("metric", "better"), [("accuracy", "random real"), ("excess_loss", "herding")])
def test_what_is_better_than_ours_is_said(
    metric: str, better: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"distilled": 0.5, "random_real": 0.75, "herding": 0.25}
    rows = [row(method, np.array([value])) for method, value in values.items()]
    outcome = result(metric=metric, evaluation=rows, storage=None)
    show_methods(Result.model_validate(outcome), "mnist")
    shown = capsys.readouterr().out
    assert f"Better than the distilled data: {better} (" in shown
    folder = write_run(tmp_path / "run", **outcome)
    assert "Better than the distilled data: " in page.write_run(folder).read_text()
    best = result(metric=metric, evaluation=rows[:1], storage=None)
    show_methods(Result.model_validate(best), "mnist")
    assert "Better than" not in capsys.readouterr().out


def test_every_metric_of_the_objective_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the terminal, in the table of a sweep in all its forms, and on both pages."""
    record = row("distilled", np.array([0.75, 0.85]))
    record["metrics"]["attacked_as_target"] = {"mean": 0.375, "std": 0.25, "min": 0.125, "max": 0.625}
    folder = write_run(tmp_path / "0", evaluation=[record])
    (folder / "evaluation.csv").unlink()
    show_methods(Result.model_validate(result(evaluation=[record], storage=None)), "mnist")
    assert "37.50 ± 25.00 %" in capsys.readouterr().out
    found = table.sweep(tmp_path)
    assert found.loc[0, ["attacked as target mean", "attacked as target std"]].tolist() == [0.375, 0.25]
    assert "| 37.50 % | 25.00 % |" in (tmp_path / "sweep.md").read_text()
    for made in (page.write_run(folder), sweep_page.write_sweep(tmp_path)):
        assert "<td>37.50 ± 25.00 %</td>" in made.read_text()


def test_the_rows_of_a_sweep(tmp_path: Path) -> None:
    row = {"method": "distilled", "mean": 0.5, "std": 0.1, "min": 0.4, "max": 0.6, "runs": 2}
    for job, status in enumerate(["finished", "interrupted"]):
        (tmp_path / str(job)).mkdir()
        outcome = {
            "status": status,
            "metric": "accuracy",
            "validation_accuracy": 0.7,
            "overrides": ["dataset=digits", f"outer.steps={job + 1}", "dataset.name='a=b'"],
            "evaluation": [row] if status == "finished" else [],
            "provenance": {"seconds": 1.5},
        }
        (tmp_path / str(job) / "result.json").write_text(json.dumps(outcome))
    rows = table.sweep(tmp_path)
    assert rows.to_dict("records")[0] == {
        "job": 0, "outer.steps": "1", "status": "finished", "metric": "accuracy", "validation": 0.7,
        "mean": 0.5, "std": 0.1, "min": 0.4, "max": 0.6, "seconds": 1.5, "error": "",
    }  # fmt: skip
    assert rows["status"].tolist() == ["finished", "interrupted"]
    assert np.isnan(rows["mean"][1])
    written = pandas.read_csv(tmp_path / "sweep.csv")
    assert list(written) == list(rows)
    assert written["outer.steps"].tolist() == [1, 2]
    np.testing.assert_array_equal(written["mean"], rows["mean"])
