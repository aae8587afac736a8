"""What the metadata of an artifact may be, for a file may come from anybody."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from dataset_distillation.datasets.data import MOST_CLASSES
from dataset_distillation.errors import first_problem
from dataset_distillation.run.records import Count

MOST_STEPS = 1_000_000  # and epochs
MOST_INNER_STEPS = 10_000_000  # for each of which a report holds a number

_Name = Annotated[str, Field(max_length=1000)]
_Channels = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=1000)]
_Positive = Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(max_length=1000)]


class _Batches(BaseModel):
    """`Batches` of the distilled data, which is made of what is here."""

    model_config = ConfigDict(extra="forbid", strict=True)

    number: int = Field(ge=1, le=MOST_INNER_STEPS)
    size: int | None = Field(default=None, ge=1)
    random: bool = True


class _Whitening(BaseModel):
    """How images were whitened, and the checksum of the train split that this was fitted on."""

    kind: Literal["zca", "zca_per_image"]
    regularization: float = Field(gt=0, allow_inf_nan=False)
    train_checksum: _Name


class Metadata(BaseModel):
    """The metadata that readers use, with their kinds and limits; there may be more.

    Those with a default are not in every file: older versions had fewer, and a Python program needs fewer.
    """

    format: int = Field(ge=1)
    sha256: str | None = None
    class_names: list[_Name] = Field(min_length=1, max_length=MOST_CLASSES)
    mean: _Channels
    std: _Positive
    architecture: _Name
    inner_optimizer: _Name
    config: dict[str, Any]
    own_scale: StrictBool = False  # whether mean and std are those of floats beyond [0, 1]
    dataset: _Name = ""
    init: _Name = ""
    objective: _Name = ""
    loss: _Name = "cross_entropy"
    augmentation: _Name = "none"
    batches: _Batches | None = None
    whitening: _Whitening | None = None
    choices: dict[str, _Name] = {}
    seed: int = 0
    train_images: Count | None = None
    initial_weights_sha256: str | None = None
    data_checksum: str | None = None


def check_metadata(metadata: dict[str, Any]) -> Metadata:
    """Return what readers use of the metadata. Raises ValueError unless it is there, and as it should be."""
    try:
        return Metadata.model_validate(metadata)
    except ValidationError as error:
        raise ValueError(f"metadata {first_problem(error)}") from error


def plain(value: Any) -> Any:
    """Return a path, a tensor, or a number or an array of numpy, which Python programs have, as JSON has it.

    Raises ValueError for anything else.
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise ValueError(f"a {type(value).__name__} cannot be written as JSON")
