"""Dataset distillation: a few synthetic images that train a network nearly as well as the whole data set.

`load_distilled(path)` reads a distilled data set; the command line (`distill --help`) makes one.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["load_distilled"]


def __getattr__(name: str) -> Any:
    # Importing the artifact imports torch, for which `distill --help` need not wait.
    if name == "load_distilled":
        from dataset_distillation.distilled.artifact import load_distilled

        return load_distilled
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
