"""The weights of a network as a dictionary: copied, stacked, identified by checksum, read from files."""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import torch
from pydantic_core import from_json
from torch import Tensor, nn

from dataset_distillation.architectures import Weights

LARGEST = 2**32  # bytes of a file of tensors that is read into memory
_LARGEST_HEADER = 2**25  # bytes


def checksum(weights: Weights) -> str:
    """SHA-256 over names, shapes and values, in single precision and in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().flatten().numpy().data)
    return digest.hexdigest()


def stack(population: Sequence[Weights]) -> Weights:
    return {name: torch.stack([weights[name] for weights in population]) for name in population[0]}


def unstack(weights: Weights) -> list[Weights]:
    return [dict(zip(weights, each, strict=True)) for each in zip(*weights.values(), strict=True)]


def load_weights(network: nn.Module, weights: Weights) -> nn.Module:
    """Copy `weights` into `network`."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])
    return network


def safetensors_header(file: BinaryIO) -> bytes:
    """Return the header of a safetensors file, JSON, and leave `file` behind it.

    Raises ValueError unless the tensors that it lists fill the rest of the file, which is not read.
    """
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= _LARGEST_HEADER:
        raise ValueError(f"its header has {length} bytes")
    header = file.read(length)
    try:
        listed = from_json(header)
        ends = [listed[name]["data_offsets"][1] for name in listed if name != "__metadata__"]
        if max(ends, default=0) != os.fstat(file.fileno()).st_size - 8 - length:
            raise ValueError("its tensors are not as long as it")
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError("its header does not list tensors") from error
    return header


def plain(tensor: Tensor) -> bool:
    """Whether a tensor of a file has its numbers one by one, on the CPU."""
    return tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"


def unpickled(file: BinaryIO) -> Any:
    """Return what `torch.save` has written; no code in the file is run, and nothing in it is compressed.

    Raises ValueError for any other file.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        if zipfile.is_zipfile(file):
            entries = zipfile.ZipFile(file).infolist()
            if sum(entry.file_size for entry in entries) > size:
                raise ValueError("it would unpack to more than its size")
        file.seek(0)
        with warnings.catch_warnings(action="ignore"):  # of files that are refused, and told below
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError, KeyError and more
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
