"""`history.csv` against the rows that were logged, at every moment at which a run could be killed."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from dataset_distillation.run.history import History

LOGGED = [
    (9, {"outer/loss": 2.0, "epoch": 0}),
    (19, {"outer/loss": 1.5, "epoch": 0}),
    (19, {"validation/accuracy": 0.5, "epoch": 0}),
    (29, {"outer/loss": 1.25}),
    (39, {"outer/loss": 1.0}),
    (39, {"validation/accuracy": 0.75}),
]


def merged(logged: list[tuple[int, dict[str, float]]]) -> pandas.DataFrame:
    """The oracle: one row a step."""
    table = pandas.DataFrame([{"step": step, **metrics} for step, metrics in logged]).drop(columns="epoch")
    return table.groupby("step", as_index=False).first()


def log(history: History, logged: list[tuple[int, dict[str, float]]]) -> None:
    for step, metrics in logged:
        history.log_metrics(metrics, step)
        history.save()


def test_the_file_is_whole_after_each_row(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.save()  # nothing yet
    for number in range(len(LOGGED)):
        log(history, LOGGED[number : number + 1])
        found = pandas.read_csv(tmp_path / "history.csv")
        pandas.testing.assert_frame_equal(found, merged(LOGGED[: number + 1]), check_like=True)


@pytest.mark.parametrize("done", [20, 25, 40])
def test_a_run_that_goes_on_has_no_gap_and_no_row_twice(done: int, tmp_path: Path) -> None:
    log(History(tmp_path), LOGGED)  # killed there; its last checkpoint was written after `done` outer steps
    log(History(tmp_path, done), [(step, metrics) for step, metrics in LOGGED if step >= done] or LOGGED[-1:])
    found = pandas.read_csv(tmp_path / "history.csv")
    pandas.testing.assert_frame_equal(found, merged(LOGGED), check_like=True)


def test_another_run_in_the_same_folder_begins_anew(tmp_path: Path) -> None:
    log(History(tmp_path), LOGGED)
    log(History(tmp_path), LOGGED[:1])
    assert pandas.read_csv(tmp_path / "history.csv")["step"].tolist() == [9]
