"""The CSV files of a run folder, as they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas

from dataset_distillation.errors import FileError, NoFile, damaged
from dataset_distillation.files import opened

LARGEST = 2**28  # bytes; a row of the curves has some hundreds
MOST_COLUMNS = 100_000  # the curves have one for each learning rate


def read_table(
    path: Path, what: str, convert: Callable[[pandas.DataFrame], pandas.DataFrame], **options: Any
) -> pandas.DataFrame | None:
    """Return the table in `path` as `convert` returns it, or None if there is no file or nothing in it.

    options: of pandas.read_csv.

    Raises FileError if the table is damaged, that is, also if `convert` raises ValueError or TypeError.
    """
    try:
        with opened(path, LARGEST) as file:
            if len(file.readline().rstrip()) == 0 and not file.read(1):
                return None
            file.seek(0)
            if file.readline().count(b",") >= MOST_COLUMNS:
                raise ValueError(f"at least {MOST_COLUMNS:,} columns")
            file.seek(0)
            return convert(pandas.read_csv(file, **options))
    except NoFile:
        return None
    except FileError:
        raise
    except (OSError, ValueError, TypeError, OverflowError) as error:  # pandas raises these for other files
        raise damaged(path, what, error) from error
