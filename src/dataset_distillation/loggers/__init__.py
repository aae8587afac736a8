"""Where the curves, images and tables of a run are shown while it runs.

To add one: one file here with a dataclass derived from `Logger`, and one YAML in `conf/logger/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import pytorch_lightning.loggers
    from torch import Tensor


@dataclass
class Logger:
    """What every logger can be told. Scalars reach it through Lightning; the rest through these calls."""

    def open(self, folder: Path, config: dict[str, Any]) -> pytorch_lightning.loggers.Logger | None:
        """Lightning's logger, writing below `folder`; `config` is the resolved experiment."""
        return None

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        """Show pictures (channels, height, width), in [0, 1], of the distilled images at outer `step`."""

    def finish(self, table: pandas.DataFrame | None, artifact: Path | None, succeeded: bool) -> None:
        """Show the final table, keep the artifact, and close: the next job of this process is another run."""
