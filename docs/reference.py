"""The pages that are made from other files: the programs' help, conf/, the records, the notebook."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import dataset_distillation as dd
from dataset_distillation.cli import exchange, pages, progress
from dataset_distillation.cli import help as help_pages
from dataset_distillation.experiment.choices import choices
from dataset_distillation.experiment.compose import GROUP_NAMES
from dataset_distillation.run import folder, records

HERE = Path(__file__).parent
CONF = HERE.parent / "conf"
NOTEBOOK = HERE.parent / "examples" / "distill_your_own.ipynb"
#: The files of run folders that hold a record, and the record.
RECORDS = {
    folder.RESULT: records.Result,
    folder.RUN: records.RunRecord,
    folder.STATUS: records.Status,
    folder.SWEEP: records.Sweep,
}


def write_pages(_: Any) -> None:
    """Write the generated pages beside the others; they are not in the repository."""
    made = {
        "reference/programs": programs(), "reference/config": config(), "reference/records": run_records(),
        "reference/python": interface(), "tutorials/notebook": notebook(),
    }  # fmt: skip
    for name, text in made.items():
        path = HERE / f"{name}.md"
        if not path.exists() or path.read_text() != text:  # else Sphinx would make the page again
            path.write_text(text)


def programs() -> str:
    """What `--help` prints."""
    shown = {
        "distill": help_pages.help_page(),
        "distill-evaluate": help_pages.evaluate_page(),
        "distill-pretrain": help_pages.PRETRAIN,
        "distill-import": exchange.import_parser().format_help(),
        "distill-export": exchange.export_parser().format_help(),
        "distill-report": pages.report_parser().format_help(),
        "distill-status": progress.status_parser().format_help(),
    }
    parts = [f"## {program}\n\n```text\n{page}\n```\n" for program, page in shown.items()]
    return "# Programs\n\nThis is what each program prints with `--help`.\n\n" + "\n".join(parts)


def config() -> str:
    """Every file of conf/: its keys, defaults and comments."""
    parts = [
        "# Every key of the config\n",
        "Each choice of a group is one file in `conf/`, shown here. `group=choice` selects it, and "
        "`group.key=value` changes one of its keys; `distill --cfg job` prints the result.\n",
        _yaml("The whole", CONF / "config.yaml", 2),
        _yaml("What `distill-evaluate` has besides", CONF / "evaluate.yaml", 2),
    ]
    for group in GROUP_NAMES:
        parts.append(f"## {group}\n")
        parts += [_yaml(f"{group}={choice}", CONF / group / f"{choice}.yaml", 3) for choice in choices(group)]
    return "\n".join(parts)


def _yaml(title: str, path: Path, level: int) -> str:
    return f"{'#' * level} {title}\n\n```yaml\n{path.read_text().strip()}\n```\n"


def notebook() -> str:
    """The notebook of the examples as it is read; a test runs it."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    where = f"This is `examples/{NOTEBOOK.name}`: open it in Jupyter to run it.\n"
    return "\n\n".join([f"```python\n{text}\n```" if code else text for text, code in texts] + [where])


def run_records() -> str:
    """The keys of the JSON files of a run folder, from the models that read them."""
    parts = [
        "# Records\n",
        "The JSON files of a [run folder](run-folder.md), key by key. Readers ignore keys that they do not "
        "know; a record of an older version has fewer. `Count` is a whole number from 0, `Seconds` a number "
        "from 0, `Share` one from 0 to 1, `JobId` SLURM's, and `Metric` the name of a metric, with "
        "`higher_is_better` and `percent`.\n",
    ]
    left: list[tuple[str, type[BaseModel]]] = list(RECORDS.items())
    shown: set[type[BaseModel]] = set()
    while left:
        title, record = left.pop(0)
        rows = list(_fields(record))
        parts.append(
            f"## {title}\n\n{_first(record)}\n\n| key | kind | |\n|---|---|---|\n" + "\n".join(rows) + "\n"
        )
        shown.add(record)
        for name, other in vars(records).items():
            of_ours = isinstance(other, type) and issubclass(other, records.Record)
            named = of_ours and any(re.search(rf"`[^`]*\b{name}\b", row) for row in rows)
            if named and other not in shown and (name, other) not in left:
                left.append((name, other))
    return "\n".join(parts)


def _first(record: type[BaseModel]) -> str:
    return (record.__doc__ or "").split("\n\n")[0].replace("\n    ", " ")


def _fields(record: type[BaseModel]) -> Iterator[str]:
    """One row for each field: its key, its kind, and the comment behind it in the source."""
    for kind in reversed(record.__mro__):
        if not issubclass(kind, records.Record) or kind is records.Record:
            continue
        for line in inspect.getsource(kind).splitlines():
            if found := re.match(r"    (\w+): ([^=#]+?)(?: = [^#]*)?(?:  # (.*))?$", line):
                name, of, comment = found.groups(default="")
                of = re.sub(r"Annotated\[(\w+), .*\]$", r"\1", of)
                yield f"| `{name}` | `{of.replace('|', 'or')}` | {comment} |"


def interface() -> str:
    """The public names, each with its docstring."""
    parts = [
        "# Python interface\n",
        "Everything that `import dataset_distillation as dd` offers. [The tutorial](../tutorials/python.md) "
        "begins with an example.\n",
    ]
    for name in sorted(dd.__all__, key=str.lower):
        of_class = isinstance(getattr(dd, name), type)
        what = f".. {'autoclass' if of_class else 'autofunction'}:: dataset_distillation.{name}"
        parts.append(f"```{{eval-rst}}\n{what}\n" + ("   :members:\n" if of_class else "") + "```\n")
    return "\n".join(parts)


def lists(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Turn the lines `name: what it is` of a docstring, with their continuations, into a list."""
    made: list[str] = []
    for line in lines:
        entry = re.match(r"(\w+(?:, \w+)*): (.*)", line)
        after_entry = bool(made) and made[-1].startswith(("- ", "  "))
        if entry and (after_entry or not made or not made[-1].strip()):
            made.append(f"- **{entry[1]}**: {entry[2]}")
        elif after_entry and line.startswith("    "):
            made.append("  " + line.strip())
        else:
            made += ["", line] if after_entry and line.strip() else [line]
    lines[:] = made
