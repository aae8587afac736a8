"""The published sets on other networks than those that they were made for (Section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from dataset_distillation.report.markdown import markdown
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.report.seeds import changed, measured

LEGEND = (
    "Published sets, used as they were made to be, by networks of other initializations and architectures:\n"
    "test accuracy in percent, mean ± standard deviation over held-out networks."
)


def table(runs: Sequence[RecordedRun]) -> list[str]:
    """Return the lines of a table in Markdown: a row for each set, a column for each kind of network."""
    cells: dict[str, dict[str, str]] = {}
    for run in runs:
        number = measured([run], "distilled")
        choices = run.result.choices
        other = changed(run)
        if run.judges and other and other <= {"architecture", "init"} and run.result.artifact and number:
            network = f"{choices.get('architecture')}, {choices.get('init')} init"
            cells.setdefault(run.judged_set, {})[network] = number.text(2)
    networks = sorted({network for row in cells.values() for network in row})
    rows = [[f"`{name}`", *(row.get(network, "") for network in networks)] for name, row in cells.items()]
    return markdown(["set", *networks], rows) if cells else []
