"""`distilled.safetensors`: the distilled data in a self-describing file."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json
from torch import Tensor, nn

from dataset_distillation import inner_optimizers
from dataset_distillation.architectures import Weights, stateless
from dataset_distillation.distilled.data import pixels, sequence
from dataset_distillation.errors import UserError, first_problem
from dataset_distillation.files import write
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.networks import batch_norm, training
from dataset_distillation.networks.weights import checksum, load_weights
from dataset_distillation.objectives import loss_by_name
from dataset_distillation.run.records import Storage

FORMAT = 2  # increased when the meaning of a field changes; older files stay readable: 1 had no checksum
_INITIAL = "initial_weights/"
#: The place of the file's SHA-256 in the header; zeros stand there while it is computed.
_SEAL = re.compile(rb'(?<="sha256":"\\")[0-9a-f]{64}(?=\\"")')
_TENSORS = ("images", "labels", "learning_rates")


class _Metadata(BaseModel):
    """The metadata that every reader needs; there may be more."""

    format: int = Field(ge=1)
    sha256: str | None = None
    class_names: list[str] = Field(min_length=1)
    mean: list[float]
    std: list[float]
    architecture: str
    inner_optimizer: str
    config: dict[str, Any]


@dataclass(frozen=True)
class DistilledSet:
    """A distilled dataset: x̃, its labels and η̃ (Algorithm 1), with the metadata that describe them.

    images: (steps, n, channels, height, width), normalized: (pixel − mean) / std.
    labels: (steps, n), int64; if they were learned (steps, n, outputs of the network), float.
    learning_rates: (epochs, steps), positive.
    initial_weights: θ0 by parameter name if the data were made for one fixed initialization, else empty.
    metadata: mean and std of the normalization, class names, and how the data were made; see
        outer/describe.py.
    """

    images: Tensor
    labels: Tensor
    learning_rates: Tensor
    initial_weights: Weights
    metadata: dict[str, Any]

    @property
    def steps(self) -> Iterator[Step]:
        """The inner steps in their intended order: all steps of an epoch, epoch after epoch."""
        return sequence(self.images, self.labels, self.learning_rates)

    @property
    def pixels(self) -> Tensor:
        """The images in the pixel space of the dataset, where real images lie in [0, 1]."""
        return pixels(self.images, self.metadata["mean"], self.metadata["std"])

    @property
    def storage(self) -> Storage:
        """The size of the set in bytes, as in its file, and that of the real train set that it was made from.

        The real set is counted with one byte per pixel and channel, and 8 bytes per label.
        """
        parts = {"images": self.images, "labels": self.labels, "learning_rates": self.learning_rates}
        sizes = {f"{name}_bytes": tensor.nbytes for name, tensor in parts.items()}
        images, number = self.images.flatten(0, 1), self.metadata.get("train_images")
        real = number and number * (images[0].numel() + 8)
        return Storage(
            **sizes,
            bytes=sum(sizes.values()),
            images=len(images),
            images_per_class=len(images) / len(self.metadata["class_names"]),
            real_images=number,
            real_bytes=real,
            share_of_real_images=number and len(images) / number,
            share_of_real_bytes=real and sum(sizes.values()) / real,
        )

    def train(self, network: nn.Module) -> nn.Module:
        """Run the inner steps on `network`, in place, and return it.

        The training starts from `initial_weights` if the set has them (the parameters of `network` must have
        the same names), else from the weights of `network`. As in the distillation, dropout is off in these
        steps, and BatchNorm uses the statistics of each step's images. Afterwards its running statistics are
        the means of these at the new weights, so test with `network.eval()`, as this project does.

        Raises ValueError if the set was made for known weights that `network` does not have.
        """
        if self.initial_weights:
            expected = {name: parameter.shape for name, parameter in network.named_parameters()}
            stored = {name: weight.shape for name, weight in self.initial_weights.items()}
            if stored != expected:
                name = next(n for n in [*stored, *expected] if stored.get(n) != expected.get(n))
                raise ValueError(
                    "the network's parameters do not match the fixed initialization this set was made for "
                    f"(architecture={self.metadata['architecture']}, see metadata['config']): {name} has "
                    f"shape {_shape(expected.get(name))} here and {_shape(stored.get(name))} in the set"
                )
            load_weights(network, self.initial_weights)
        elif self.metadata.get("initial_weights_sha256") not in (
            None,
            checksum(dict(network.named_parameters())),
        ):
            raise ValueError(
                "the network does not have the weights this set was made for, and the set has only their "
                f"checksum; load those of metadata['config']['init'], {self.metadata['config']['init']}"
            )
        options = self.metadata["config"].get("inner_optimizer", {})
        optimizer = inner_optimizers.by_name(self.metadata["inner_optimizer"], options)
        # Files that are older than the choice of a loss do not name it.
        loss = loss_by_name(self.metadata.get("loss", "cross_entropy"))
        copied = stateless(copy.deepcopy(network))
        training.train(copied, self.steps, optimizer, loss)
        load_weights(network, dict(copied.named_parameters()))
        batch_norm.fit(copied, [step.images for step in self.steps])
        batch_norm.hand_over(copied, network)
        return network

    def save(self, path: str | Path) -> None:
        """Write the set to `path`, atomically. Raises UserError if that fails."""
        tensors = {"images": self.images, "labels": self.labels, "learning_rates": self.learning_rates}
        tensors |= {_INITIAL + name: weight for name, weight in self.initial_weights.items()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        marks = {"format": FORMAT, "sha256": "0" * 64}
        metadata = {name: json.dumps(value) for name, value in {**marks, **self.metadata}.items()}
        content = _in_order(safetensors.torch.save(tensors, metadata))
        write(Path(path), _SEAL.sub(_checksum(content).encode(), content, count=1))

    def check(self) -> None:
        """Raise ValueError unless the tensors, and the class names, mean and std, fit together."""
        images, labels, rates = self.images, self.labels, self.learning_rates
        classes = len(self.metadata["class_names"])
        of_classes = labels.dtype == torch.int64 and labels.ndim == 2
        learned = labels.is_floating_point() and labels.ndim == 3 and labels.shape[-1] == classes
        fits = images.is_floating_point() and images.ndim == 5 and labels.shape[:2] == images.shape[:2]
        if not fits or not images.numel() or not (of_classes or learned):
            raise ValueError(f"images {tuple(images.shape)} and labels {tuple(labels.shape)}")
        if of_classes and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError("a label is not the number of a class")
        if not rates.is_floating_point() or rates.ndim != 2 or rates.shape[1] != len(images):
            raise ValueError(f"learning rates {tuple(rates.shape)} for {len(images)} steps")
        if {len(self.metadata["mean"]), len(self.metadata["std"])} != {images.shape[2]}:
            raise ValueError("mean and std are not those of the images' channels")


def _in_order(content: bytes) -> bytes:
    """Return a safetensors file with its header sorted: the library writes the metadata in a random order.

    The new header is padded so that the tensors are aligned.
    """
    old = _header(content)
    header = json.dumps(json.loads(old), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + len(old) :]


def _header(content: bytes) -> bytes:
    """The header of a safetensors file: JSON after its length (8 bytes, little endian)."""
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


def _checksum(content: bytes) -> str:
    """The SHA-256 of an artifact, computed with zeros in its place in the header."""
    return hashlib.sha256(_SEAL.sub(b"0" * 64, content, count=1)).hexdigest()


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))


def load_distilled(path: str | Path) -> DistilledSet:
    """Read the distilled dataset in `path`, a file of `DistilledSet.save`; no code of the file is run.

    Raises UserError, with a message of one line, if the file cannot be read or is damaged.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        metadata = _metadata(content)
        if metadata.pop("format") > FORMAT:
            raise UserError(f"{path}: made by a newer version of dataset-distillation; update to read it")
        distilled = _distilled(safetensors.torch.load(content), metadata)
        distilled.check()
    except (ValueError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a distilled dataset, or damaged ({reason})") from error
    return distilled


def _metadata(content: bytes) -> dict[str, Any]:
    """Return the metadata, which have everything that readers need. Raises ValueError if they do not."""
    header = from_json(_header(content))
    texts = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(texts, dict):
        raise ValueError("it has no metadata")
    metadata = {name: from_json(text) for name, text in texts.items() if isinstance(text, str)}
    try:
        known = _Metadata.model_validate(metadata)
    except ValidationError as error:
        raise ValueError(f"metadata {first_problem(error)}") from error
    seal = metadata.pop("sha256", None)
    if known.format <= FORMAT and (known.format > 1 or seal) and seal != _checksum(content):
        raise ValueError("its checksum does not match")
    return metadata


def _distilled(tensors: Weights, metadata: dict[str, Any]) -> DistilledSet:
    initial = {
        name.removeprefix(_INITIAL): tensor for name, tensor in tensors.items() if name.startswith(_INITIAL)
    }
    others = {name: tensor for name, tensor in tensors.items() if not name.startswith(_INITIAL)}
    if others.keys() != set(_TENSORS):
        raise ValueError(f"it has the tensors {', '.join(sorted(others))}, not {', '.join(_TENSORS)}")
    return DistilledSet(**others, initial_weights=initial, metadata=metadata)
