"""One network that the user already has; it is the same in distillation and in evaluation."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.architectures import Weights
from dataset_distillation.datasets import Dataset
from dataset_distillation.errors import FileError, UserError, damaged, refuse
from dataset_distillation.files import opened
from dataset_distillation.init import Origin
from dataset_distillation.init.fixed import Fixed

if TYPE_CHECKING:
    from torch import Tensor, nn


log = logging.getLogger(__name__)

#: The buffers of a BatchNorm; the networks here use the statistics of the batch instead.
RUNNING = ("running_mean", "running_var", "num_batches_tracked")


@dataclass
class Checkpoint(Fixed):
    """Fixed pre-trained weights (Section 3.5) from a file, or torchvision's weights by name.

    Buffers in the file must equal those that the network is built with; BatchNorm's running statistics are
    ignored.

    networks: must be 1, since θ0 is one network.
    path: a file with a state dict, written by `torch.save` or as .safetensors.
    weights: the name of torchvision's weights, such as `AlexNet_Weights.IMAGENET1K_V1`, instead of a path.
    fresh_layer: a layer that is not read from the file: its weights are 0 and its biases 1, as in the
        authors' code, so that all classes are equally likely before the first step.
    store: whether the artifact holds the weights, and not only their checksum.

    Raises ConfigError unless exactly one of `path` and `weights` is set, and UserError if the file cannot be
    read or does not fit the network.
    """

    trained: ClassVar[bool] = True

    path: str | None = None
    weights: str | None = None
    fresh_layer: str | None = None
    store: bool = False

    def check(self, dataset: Dataset, stored: bool = False) -> None:
        if (self.path is None) == (self.weights is None):
            allowed = f"init.weights is {self.weights}"
            raise refuse("init.path", self.path, allowed, "give a file or torchvision's weights by name")
        in_artifact = self.store and stored  # then the file is not needed
        if self.path is not None and not in_artifact and not Path(self.path).expanduser().is_file():
            raise refuse("init.path", self.path, "no such file")
        if self.weights is not None:
            _url(self.weights)

    def population(self, origin: Origin, purpose: str, number: int, step: int = 0) -> list[Weights]:
        return [{name: weight.clone() for name, weight in self._fitted(origin.network).items()}]

    def stored(self, weights: Weights) -> Weights:
        return weights if self.store else {}

    def _fitted(self, network: nn.Module) -> Weights:
        """Return the weights of `network`.

        Raises UserError naming the first tensor that does not fit.
        """
        parameters, tensors = dict(network.named_parameters()), dict(self._tensors)
        fresh = [name for name in parameters if name.rpartition(".")[0] == self.fresh_layer]
        if self.fresh_layer is not None and not fresh:
            layers = dict.fromkeys(name.rpartition(".")[0] for name in parameters)
            raise refuse("init.fresh_layer", self.fresh_layer, f"must be one of {', '.join(layers)}")
        fitted: Weights = {}
        for name, parameter in parameters.items():
            tensor = self._pop(tensors, network, parameter)
            if name in fresh:
                fitted[name] = (
                    parameter.detach().cpu().new_full(parameter.shape, float(name.endswith("bias")))
                )
            elif tensor is not None and tensor.shape == parameter.shape:
                fitted[name] = tensor.to(parameter.dtype)
            else:
                raise self._unfit(name, parameter, tensor)
        self._check_rest(tensors, network)
        return fitted

    def _plain(self, name: str, tensor: Tensor) -> Tensor:
        """Return `tensor`. Raises FileError unless it is finite numbers."""
        from dataset_distillation.networks.weights import plain

        if not plain(tensor) or not tensor.is_floating_point():
            raise FileError(f"{self._file}: {name} has no plain floating-point numbers")
        if not tensor.isfinite().all():
            raise FileError(f"{self._file}: {name} is not all finite")
        return tensor

    def _pop(self, tensors: Weights, network: nn.Module, parameter: Tensor) -> Tensor | None:
        """Remove the tensor of `parameter` from `tensors` and return it; a tied weight has several names."""
        every = network.named_parameters(remove_duplicate=False)
        names = [name for name, p in every if p is parameter and name in tensors]
        same = {name: self._plain(name, tensors.pop(name)) for name in names}
        tensor = next(iter(same.values()), None)
        if tensor is not None and not all(tensor.equal(other) for other in same.values()):
            raise UserError(f"{self._file}: {' and '.join(same)} differ, and are one tensor in the network")
        return tensor

    def _check_rest(self, tensors: Weights, network: nn.Module) -> None:
        """Raise UserError if a remaining tensor is unknown to the network or differs from its buffer.

        A network of the user's own may hold constants as buffers; they are not part of θ0 and are not
        replaced.
        """
        buffers = dict(network.named_buffers(remove_duplicate=False))
        for name in sorted(name for name in tensors if not name.endswith(RUNNING)):
            if name not in buffers:
                raise UserError(f"{self._file}: the network has no tensor {name}")
            if not tensors[name].to(buffers[name].dtype).equal(buffers[name].cpu()):
                remedy = "only parameters are read from a file: build the network with this buffer"
                raise UserError(f"{self._file}: buffer {name} differs from the network's; {remedy}")

    def _unfit(self, name: str, parameter: Tensor, tensor: Tensor | None) -> UserError:
        shape = tuple(parameter.shape)
        if tensor is None:
            return UserError(f"{self._file}: no tensor {name}; the network has one of shape {shape}")
        remedy = f"use init.fresh_layer={name.rpartition('.')[0]} to start that layer anew"
        mismatch = f"{name} has shape {tuple(tensor.shape)}, in the network {shape}"
        return UserError(f"{self._file}: {mismatch}; {remedy}")

    @cached_property
    def _file(self) -> Path:
        return Path(self.path).expanduser() if self.path is not None else _torchvision(str(self.weights))

    @cached_property
    def _tensors(self) -> Weights:
        """The tensors of the file by name, on the CPU; no code of the file is run."""
        import safetensors.torch
        import torch

        from dataset_distillation.networks.weights import LARGEST, safetensors_header, unpickled

        with opened(self._file, LARGEST) as file:
            try:
                if self._file.suffix == ".safetensors":
                    safetensors_header(file)
                    return safetensors.torch.load_file(self._file)
                content = unpickled(file)
            except (OSError, ValueError, safetensors.SafetensorError) as error:
                raise damaged(self._file, "a file of weights", error) from error
        if not isinstance(content, dict) or not all(
            isinstance(tensor, torch.Tensor) for tensor in content.values()
        ):
            remedy = "save network.state_dict() with torch.save, or as .safetensors"
            raise FileError(f"{self._file}: not a state dict (tensors by name); {remedy}")
        return content


def _url(name: str) -> str:
    from torchvision import models

    try:
        return str(models.get_weight(name).url)
    except (ValueError, KeyError) as error:
        example = "for example AlexNet_Weights.IMAGENET1K_V1"
        raise refuse("init.weights", name, "no such weights in torchvision.models", example) from error


def _torchvision(name: str) -> Path:
    """Return the file of torchvision's weights in torch hub's cache; download it if it is missing.

    Raises UserError if the download fails or the file is damaged.
    """
    import torch

    from dataset_distillation.networks.weights import LARGEST

    url = _url(name)
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    start = file.stem.rpartition("-")[2]  # the name is <network>-<first 8 digits of the SHA-256>.pth
    if not file.exists():
        log.info("downloading %s to %s", name, file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), start, progress=False)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            remedy = f"put {file.name} there, or set TORCH_HOME to the folder whose hub/checkpoints has it"
            raise UserError(
                f"init.weights={name}: not in {file.parent}, and the download failed ({reason}); {remedy}"
            ) from error
    with opened(file, LARGEST) as content:
        if not hashlib.file_digest(content, "sha256").hexdigest().startswith(start):
            raise FileError(f"{file}: damaged (its SHA-256 does not begin with {start}); remove it")
    return file
