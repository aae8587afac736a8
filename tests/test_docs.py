"""The commands of the documentation: each is one that the programs take; those on digits run to their end."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command_line import Ended, distill, distill_evaluate, distill_pretrain
from support.experiments import CONF, TINY

ROOT = CONF.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*/*.md"))]
PROGRAMS = {"distill": distill, "distill-evaluate": distill_evaluate, "distill-pretrain": distill_pretrain}
#: The set that pages judge, where it is in a checkout.
ARTIFACT = f"artifact={ROOT / 'results' / 'demo' / 'seed_0' / 'distilled.safetensors'}"
#: They need a folder of an earlier run, or a module of the reader's.
NOT_ALONE = ("resume=", "sweep.resume=", "=imported", "init.path=", "init.weights=", "init.held_out=")


def blocks(page: str) -> Iterator[str]:
    """The commands in the blocks of a page, which have no language or are a console."""
    inside = fenced = False
    for line in re.sub(r"\\\n\s*", "", page).splitlines():
        if line.startswith("```"):
            fenced = not fenced
            inside = fenced and line.removeprefix("```") in ("", "console")
        elif inside and line.removeprefix("$ ").startswith("distill"):
            yield line.removeprefix("$ ")


def commands() -> list[list[str]]:
    """The words of every command line of ours in the pages, once."""
    lines = dict.fromkeys(line for page in PAGES for line in blocks(page.read_text()))
    split = dict.fromkeys(tuple(shlex.split(line.partition(" & ")[0], comments=True)) for line in lines)
    return [list(words) for words in split if words[0] in PROGRAMS]


COMMANDS = commands()


def typed(program: str, *words: str, folder: Path) -> Ended:
    return PROGRAMS[program](*words, folder=folder)


def test_there_are_commands() -> None:
    assert {words[0] for words in COMMANDS} == PROGRAMS.keys()
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_one_that_the_program_takes(command: list[str], tmp_path: Path) -> None:
    """Of a sweep, its first job."""
    program, *words = command
    if any(word.startswith("-") for word in words if word != "-m") or any(
        part in word for word in words for part in NOT_ALONE
    ):
        pytest.skip("not an experiment of its own")
    first = [re.sub(r"^([^=\[]+=[^,\[]+),.*$", r"\1", word) for word in words if word != "-m"]
    asked = [ARTIFACT if word.startswith("artifact=") else word for word in first]
    ended = typed(program, *asked, "--cfg", "job", folder=tmp_path)
    assert ended.code == 0, ended.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if "experiment=demo" in c or "dataset=digits" in c], ids=" ".join
)
def test_the_commands_on_digits_run_to_their_end(command: list[str], tmp_path: Path) -> None:
    """With fewer outer steps than a reader's."""
    program, *words = command
    if "--cfg" in words:
        pytest.skip("it only prints")
    ended = typed(program, *words, *TINY, "distilled.steps=1", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert list(tmp_path.rglob("report.html"))
