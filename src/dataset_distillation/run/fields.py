"""What the records of a run are made of: numbers within limits, their common behavior, and small parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, lt=2**53)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Share = Annotated[float, Field(ge=0, le=1)]
JobId = Annotated[str, Field(pattern=r"^[0-9]{1,9}(_[0-9]{1,9})?$")]


class Record(BaseModel):
    """Keys and values in a file."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, validate_assignment=True)


class Engine(Record):
    """The engine that unroll=auto chose, by its name among the choices of `unroll`."""

    choice: Literal["full", "recompute", "traced"]
    compile: bool


class DataReport(Record):
    """The images of each split, and the files that were left out because they could not be read."""

    name: str
    classes: Count
    train: Count
    validation: Count
    test: Count
    skipped: Count = 0
