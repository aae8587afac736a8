"""What a run shows in a dashboard, from before its first network is trained to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation.evaluation.comparison import Comparison, rows_of
from dataset_distillation.loggers import EvaluationView, Logger, Title
from dataset_distillation.objectives import Objective
from dataset_distillation.report.shown import view
from dataset_distillation.run.attempts import Attempts
from dataset_distillation.run.folder import ARTIFACT
from dataset_distillation.run.records import EvaluationRow
from dataset_distillation.run.run import Run
from dataset_distillation.sweep.jobs import swept_overrides

if TYPE_CHECKING:
    import pytorch_lightning.loggers


@dataclass
class Dashboard:
    """The open logger of a run: its `curves`, and the `evaluation` once there is one."""

    curves: list[pytorch_lightning.loggers.Logger]
    evaluation: EvaluationView | None = None

    def show(
        self, comparison: Comparison, objective: Objective, selection: str, class_names: Sequence[str]
    ) -> list[EvaluationRow]:
        """Show a comparison at the end, and return its rows."""
        rows = rows_of(comparison.runs, objective.metric)
        self.evaluation = view(comparison, rows, objective.metrics, selection, class_names)
        return rows


@contextmanager
def opened(
    logger: Logger, run: Run, dataset: str, origin: dict[str, Any], attempts: Attempts
) -> Iterator[Dashboard]:
    """Open the logger; close it with the evaluation, the artifact and the cost, whatever happens between.

    Raises UserError if it cannot be opened.
    """
    dashboard = Dashboard(logger.open(run.folder, config_of(run, origin), title_of(run, dataset)))
    succeeded = False
    try:
        yield dashboard
        succeeded = True
    finally:
        artifact = run.folder / ARTIFACT
        saved = artifact if artifact.exists() else None
        logger.finish(dashboard.evaluation, saved, attempts.cost().model_dump(), succeeded)


def config_of(run: Run, origin: dict[str, Any]) -> dict[str, Any]:
    """The config for dashboards: with the choice of each group, and where the results come from."""
    return {**run.config, "choices": run.choices, "provenance": origin}


def title_of(run: Run, dataset: str) -> Title:
    """The title of a run for dashboards: the overrides that its sweep varies, if it is in one."""
    own, parent = swept_overrides(run.folder, run.overrides), run.folder.parent.name
    choices = (run.choices[group] for group in ("architecture", "init", "objective"))
    name = " ".join(own or []) or f"{parent}/{run.folder.name}"
    return Title(name, None if own is None else parent, [dataset, *choices])
