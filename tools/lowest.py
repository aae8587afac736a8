"""Prints the lowest version that pyproject.toml allows of each dependency, for `pip install -c`."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path


def lowest() -> list[str]:
    """Each requirement with a lower bound, as a constraint: `numpy>=1.26` becomes `numpy==1.26`."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    required = chain(project["dependencies"], *project["optional-dependencies"].values())
    bounds = (re.match(r"([\w-]+)[>=]=([\w.]+)", requirement) for requirement in required)
    return sorted({f"{bound[1]}=={bound[2]}" for bound in bounds if bound})


if __name__ == "__main__":
    print(*lowest(), sep="\n")
