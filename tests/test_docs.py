"""The commands of the documentation: each is one that the programs take; those on digits run to their end."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dataset_distillation.cli.exchange import export, read_and_write
from support.command_line import Ended, distill, distill_evaluate, distill_pretrain
from support.experiments import CONF, TINY

ROOT = CONF.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*/*.md"))]
PROGRAMS = {"distill": distill, "distill-evaluate": distill_evaluate, "distill-pretrain": distill_pretrain}
#: The set that pages judge, where it is in a checkout.
ARTIFACT = f"artifact={ROOT / 'results' / 'demo' / 'seed_0' / 'distilled.safetensors'}"


class Command(NamedTuple):
    """A command line of a page, and the comment behind it, which says if it is long or needs something."""

    program: str
    words: tuple[str, ...]
    comment: str

    def __str__(self) -> str:
        return " ".join([self.program, *self.words])

    def run(self, *more: str, folder: Path, pages: bool = False) -> Ended:
        asked = [ARTIFACT if word.startswith("artifact=") else word for word in self.words]
        return PROGRAMS[self.program](*asked, *more, folder=folder, pages=pages)


def blocks(page: str) -> Iterator[str]:
    """The commands in the blocks of a page, which have no language or are a console."""
    inside = fenced = False
    for line in re.sub(r"\\\n\s*", "", page).splitlines():
        if line.startswith("```"):
            fenced = not fenced
            inside = fenced and line.removeprefix("```") in ("", "console")
        elif inside and line.removeprefix("$ ").startswith("distill"):
            yield line.removeprefix("$ ")


def commands() -> list[Command]:
    """Every command line of ours in the pages, once."""
    found = {}
    for page in PAGES:
        for line in blocks(page.read_text()):
            program, *words = shlex.split(line.partition(" & ")[0], comments=True)
            if program in PROGRAMS and "--help" not in words:
                command = Command(program, tuple(words), line.partition(" # ")[2])
                found.setdefault(command[:2], command)
    return list(found.values())


COMMANDS = commands()
#: The programs that take files alone; they run in this process.
OF_FILES = {"distill-import": read_and_write, "distill-export": export}


def test_there_are_commands() -> None:
    assert {command.program for command in COMMANDS} == PROGRAMS.keys()
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_is_one_that_the_program_takes(command: Command, tmp_path: Path) -> None:
    """Of a sweep, its first job. What needs files or a cluster of the reader's cannot be tried here."""
    if command.comment.startswith("needs") or command.program == "distill-pretrain":
        pytest.skip(command.comment)
    first = [re.sub(r"^([^=\[]+=[^,\[]+),.*$", r"\1", word) for word in command.words if word != "-m"]
    ended = command._replace(words=tuple(first)).run("--cfg", "job", folder=tmp_path)
    assert ended.code == 0, ended.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        c
        for c in COMMANDS
        if "long" not in c.comment and not c.comment.startswith("needs") and "--cfg" not in c.words
    ],
    ids=str,
)
def test_what_is_not_marked_as_long_runs_to_its_end(command: Command, tmp_path: Path) -> None:
    """With fewer outer steps than a reader's."""
    fewer = ["trainer.threads=1", "logger=none", "evaluation.networks=2"]
    if command.program == "distill" and "experiment=linear_bound" not in command.words:
        fewer = [*TINY, "distilled.steps=1"]
    ended = command.run(*fewer, folder=tmp_path, pages=True)
    assert ended.code == 0, ended.err
    assert list(tmp_path.rglob("report.html"))


def test_what_takes_files_runs_in_the_order_of_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with the demo's run; what needs other files says so behind it."""
    (tmp_path / "outputs" / "demo").mkdir(parents=True)
    shutil.copy(ARTIFACT.removeprefix("artifact="), tmp_path / "outputs" / "demo")
    monkeypatch.chdir(tmp_path)
    told = []
    for line in (line for page in PAGES for line in blocks(page.read_text())):
        program, *words = shlex.split(line, comments=True)
        if program not in PROGRAMS and " # needs" not in line:
            told.append(OF_FILES[program](words)[-1])
    assert told
    assert all(Path(path).exists() for path in told)


def test_the_reference_shows_the_help_of_every_program() -> None:
    reference = runpy.run_path(str(ROOT / "docs" / "reference.py"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    headings = [
        line.removeprefix("## ") for line in reference["programs"]().splitlines() if line[:3] == "## "
    ]
    assert sorted(headings) == sorted(scripts)
