"""The label robust score of DD-Ranking, against numbers made by hand."""

from __future__ import annotations

import pytest

from dataset_distillation.evaluation.ranking import label_robust
from dataset_distillation.objectives import Metric
from dataset_distillation.report.methods import ranking
from dataset_distillation.run.records import EvaluationRow, Result


def rows(**means: float | None) -> dict[str, EvaluationRow]:
    return {name: EvaluationRow(method=name, mean=mean, std=None, runs=1) for name, mean in means.items()}


def test_the_score_of_known_accuracies() -> None:
    """α = (0.2 − 0.4) / 2 = −0.1: (0.904837 − 0.367879) / 2.350402 = 0.228454."""
    found = label_robust(rows(full_training=0.8, distilled=0.4, random_real=0.2), learned=False)
    assert found is not None
    assert found == pytest.approx((0.4, 0.2, 0.228454), abs=1e-6)


def test_its_ends_are_0_and_1() -> None:
    best = label_robust(rows(full_training=0.0, distilled=1.0, random_real=0.0), learned=False)
    worst = label_robust(rows(full_training=1.0, distilled=0.0, random_real=1.0), learned=False)
    assert best is not None
    assert worst is not None
    assert (worst.score, best.score) == pytest.approx((0, 1), abs=1e-12)


def test_learned_labels_are_compared_as_classes() -> None:
    known = rows(full_training=0.8, distilled=0.6, random_real=0.2)
    assert label_robust(known, learned=True) is None
    found = label_robust(known | rows(distilled_with_labels_as_classes=0.5), learned=True)
    assert found is not None
    assert found[:2] == pytest.approx((0.3, 0.4))


@pytest.mark.parametrize("lacking", ["full_training", "distilled", "random_real"])
def test_it_needs_all_three_rows(lacking: str) -> None:
    known = rows(full_training=0.8, distilled=0.4, random_real=0.2)
    assert label_robust(known | rows(**{lacking: None}), learned=False) is None
    known.pop(lacking)
    assert label_robust(known, learned=False) is None


def test_it_is_told_under_the_table_of_accuracies_alone() -> None:
    known = list(rows(full_training=0.8, distilled=0.4, random_real=0.2).values())
    result = Result(status="finished", metrics=[Metric("accuracy")], evaluation=known)
    assert ranking(result) == (
        "Label robust score (DD-Ranking, hard labels): 22.85 %, of HLR +40.00 % and IOR +20.00 % at w = 0.5; "
        "it compares these rows, each trained in its own way."
    )
    assert ranking(result.model_copy(update={"metrics": [Metric("loss", False, False)]})) == ""
    assert ranking(Result()) == ""
    for labels in ("learned", "probabilities"):  # hard ones would be those of explain=true
        config = {"distilled": {"labels": labels}}
        assert ranking(result.model_copy(update={"config": config})) == ""
