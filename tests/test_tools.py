"""The tools of `make audit` and `make test-lowest`."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tools import audit, lowest

SOUND = {"name": "numpy", "version": "1.26", "vulns": []}
VULNERABLE = {"name": "jinja2", "version": "3.1", "vulns": [{"id": "CVE-1", "fix_versions": ["3.2"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        (None, 0, "no advisory database can be reached"),
        ([UNKNOWN], 0, "no advisory database can be reached"),  # what a mirror without advisories leads to
        ([SOUND, UNKNOWN], 0, "audit: 1 of "),
        ([SOUND, VULNERABLE], 1, "audit: jinja2==3.1: CVE-1, fixed in 3.2\naudit: 2 of "),
    ],
)
def test_audit_tells_what_was_checked(
    packages: list[Any] | None, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    answer = subprocess.CompletedProcess([], 1, stdout=out, stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert audit.main() == code
    assert said in capsys.readouterr().out


def test_the_lowest_versions_are_those_of_all_dependencies() -> None:
    pinned = dict(constraint.split("==") for constraint in lowest.lowest())
    assert pinned["higher"] == "0.2.1"
    assert {"torch", "hydra-core", "submitit", "tensorboard", "pytest", "scikit-learn"} <= pinned.keys()
    assert all(version[0].isdigit() for version in pinned.values())
