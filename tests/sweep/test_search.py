"""Searches: by Optuna in one multirun, and by W&B, whose agent starts single runs."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest
import yaml

from support.command_line import distill, only_run
from support.experiments import CONF, TINY
from support.folders import result_of

SMALL = [option for option in TINY if not option.startswith(("distilled", "evaluation.networks", "logger"))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Optuna 2, which Hydra's plugin needs, speaks an old SQLAlchemy
def test_an_optuna_search_maximises_and_goes_on_where_it_was(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ["experiment=search_mnist", *SMALL, "architecture=mlp", "logger=none"]
    ended = distill(*search, "hydra.sweeper.n_trials=3", "hydra.sweep.dir=search", folder=tmp_path)
    assert ended.code == 0, ended.err
    folder = tmp_path / "search"
    rows = pandas.read_csv(folder / "sweep.csv")
    keys = ["outer.learning_rate", "outer.learning_rate_of_rates", "outer.clip"]
    assert {*keys, "status", "validation"} <= set(rows)
    found = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert found["best_value"] == rows["validation"].max()
    best = rows.loc[rows["validation"].idxmax()]
    assert [found["best_params"][key] for key in keys] == pytest.approx(best[keys].tolist())
    before = [(folder / job / "result.json").stat().st_mtime_ns for job in "012"]
    ended = distill(*search, "hydra.sweeper.n_trials=4", f"sweep.resume={folder}", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert [(folder / job / "result.json").stat().st_mtime_ns for job in "012"] == before
    longer = pandas.read_csv(folder / "sweep.csv")
    assert longer["status"].tolist() == ["finished"] * 4
    pandas.testing.assert_frame_equal(longer[:3][keys], rows[keys])


def test_the_command_of_the_wandb_sweep_runs(tmp_path: Path) -> None:
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    sweep = yaml.safe_load((CONF / "wandb" / "sweep.yaml").read_text())
    drawn = {
        key: {"value": asked["values"][0] if "values" in asked else asked["max"]}
        for key, asked in sweep["parameters"].items()
    }
    arguments = utils.create_sweep_command_args({"args": drawn})
    [program, *typed], swept = utils.make_launch_sweep_entrypoint(arguments, sweep["command"])
    assert (program, sweep["program"]) == ("${program}", "distill")
    assert "logger.mode=online" in typed
    ended = distill(*typed, *swept, *SMALL, "architecture=mlp", "logger.mode=offline", folder=tmp_path)
    assert ended.code == 0, ended.err
    result = result_of(only_run(tmp_path))
    for key, value in drawn.items():
        group, _, name = key.partition(".")
        assert result["config"][group][name] == value["value"]
    assert f"validation_{sweep['metric']['name'].split('/')[1].removesuffix('.max')}" in result
    assert list(only_run(tmp_path).glob("wandb/offline-run-*"))
