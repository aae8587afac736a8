"""Pools of pretrained networks: trained once, kept on disk, shared by all runs that ask for the same."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import safetensors
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from dataset_distillation import training
from dataset_distillation.architectures import Architecture, Weights
from dataset_distillation.artifact import checksum
from dataset_distillation.datasets import Data, Dataset
from dataset_distillation.errors import refuse
from dataset_distillation.files import write, write_json
from dataset_distillation.init.pooled import Pretraining
from dataset_distillation.objectives.standard import Standard
from dataset_distillation.randomness import stream

log = logging.getLogger(__name__)

# Networks that a GPU trains as one batched program. On a CPU batching costs time (LeNet, batch 128, eight
# networks: 1.6 times as long per network), and the cores train different networks instead.
GPU_NETWORKS = 32
CANNOT_BE_TRUSTED = (OSError, KeyError, ValueError, safetensors.SafetensorError)


class Member(NamedTuple):
    """A trained network: weights on the CPU, accuracy on the test split of the source."""

    weights: Weights
    accuracy: float


@dataclass(frozen=True)
class Pool:
    """Networks of one architecture, trained on the train split of one source; one file a network.

    Members are named; a member's name and `pretraining.seed` determine its weights, whoever trains it and
    whatever else is in the pool.
    """

    architecture: Architecture
    source: Dataset
    pretraining: Pretraining
    device: torch.device
    progress_bar: bool

    @cached_property
    def data(self) -> Data:
        return self.source.load(self.pretraining.seed)

    @cached_property
    def network(self) -> nn.Module:
        specification = self.data.specification
        return self.architecture.build(specification.shape, specification.classes).to(self.device)

    @cached_property
    def made_of(self) -> dict[str, Any]:
        """Everything that determines the weights."""
        recipe = asdict(self.pretraining)
        del recipe["folder"], recipe["workers"]
        return {
            "format": 2,
            "architecture": {"kind": type(self.architecture).__name__, **asdict(self.architecture)},
            "network": repr(self.network),
            "code": self._code,
            "source": asdict(self.data.specification) | {"checksum": self.data.checksum},
            "border": self.source.border,
            "validation": self.source.validation,
            "pretraining": recipe,
            "device": self.device.type,
            "torch": torch.__version__,
        }

    @property
    def _code(self) -> str:
        """SHA-256 of the modules that make the network; of torch's no more than that of its own class."""
        first = type(self.network).__module__
        names = [first, *sorted(self.architecture.modules(self.network) - {first})]
        return hashlib.sha256("".join(inspect.getsource(sys.modules[n]) for n in names).encode()).hexdigest()

    @cached_property
    def folder(self) -> Path:
        key = hashlib.sha256(json.dumps(self.made_of, sort_keys=True).encode()).hexdigest()[:16]
        kind = type(self.architecture).__name__.lower()
        return Path(self.pretraining.folder, Path(f"{self.source.name.lower()}-{kind}-{key}").name).absolute()

    def members(self, names: Sequence[str]) -> list[Member]:
        """The members of these names, verified; those that are missing or damaged are trained first.

        Of several jobs that ask for the same, one trains and the others wait.
        """
        found = self._sound(names)
        if missing := [name for name in names if name not in found]:
            write_json(self.folder / "pool.json", self.made_of)
            with self._alone():
                found |= self._sound(missing)
                if missing := [name for name in missing if name not in found]:
                    self._train(missing)
                    found |= self._sound(missing)
        return [found[name] for name in names]

    def report(self, names: Sequence[str]) -> dict[str, Any]:
        """What a run's result says of the pool: how good its networks are on the source's test split."""
        accuracies = torch.tensor([member.accuracy for member in self.members(names)], dtype=torch.float64)
        return {
            "source": self.data.specification.name,
            "networks": len(names),
            "accuracy_mean": accuracies.mean().item(),
            "accuracy_std": accuracies.std(correction=0).item(),
            "accuracy_min": accuracies.min().item(),
            "folder": str(self.folder),
        }

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.info("another job trains the pool %s; waiting for it", self.folder)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _train(self, members: list[str]) -> None:
        data, workers = self.data, self._workers(len(members))
        log.info(
            "training %d networks on %s in %d processes: %s",
            len(members),
            data.specification.name,
            workers,
            self.folder,
        )
        size = 1 if self.device.type == "cpu" else GPU_NETWORKS
        groups = [members[i : i + size] for i in range(0, len(members), size)]
        jobs = (joblib.delayed(_train_members)(self, group) for group in groups)
        # In processes also where joblib would take threads, as in a job of its launcher: `functional_call`
        # swaps the weights of the network in place, and no two threads may share it.
        done = joblib.Parallel(workers, backend="loky", return_as="generator_unordered")(jobs)
        console = Console(stderr=True)  # stdout has the tables alone
        hidden = not (self.progress_bar and console.is_terminal)
        shown = track(done, "pretraining", len(groups), console=console, disable=hidden, transient=True)
        for number, _ in enumerate(shown, 1):
            if number % max(1, len(groups) // 10) == 0:
                log.info("pretrained %d of %d", min(number * size, len(members)), len(members))

    def _workers(self, members: int) -> int:
        if self.device.type != "cpu":
            return 1
        return min(self.pretraining.workers or joblib.cpu_count(), members)

    def _path(self, member: str) -> Path:
        return self.folder / f"{member.replace(' ', '-')}.safetensors"

    def _sound(self, names: Sequence[str]) -> dict[str, Member]:
        return {name: member for name in names if (member := self._read(name))}

    def _read(self, name: str) -> Member | None:
        """A member, verified; None where it is missing or damaged."""
        path = self._path(name)
        try:
            content = path.read_bytes()
            weights = safetensors.torch.load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            metadata = json.loads(header["__metadata__"]["member"])
            if metadata["sha256"] != checksum(weights):
                raise ValueError("its checksum is not that of its weights")
            ordered = {parameter: weights[parameter] for parameter, _ in self.network.named_parameters()}
            return Member(ordered, float(metadata["accuracy"]))
        except FileNotFoundError:
            return None
        except CANNOT_BE_TRUSTED as error:
            log.warning("%s is damaged (%s); training it again", path, error)
            return None

    def save(self, member: str, weights: Weights, accuracy: float) -> None:
        # One key: safetensors writes several in an order that changes from call to call.
        metadata = json.dumps({"accuracy": accuracy, "sha256": checksum(weights)})
        write(self._path(member), safetensors.torch.save(weights, {"member": metadata}))


def _train_members(pool: Pool, members: list[str]) -> None:
    """Train some members, as one batched program if they are several, and save each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one network a core; and its bits do not depend on how many there are
    try:
        trained = _trained(pool, members)
    finally:
        torch.set_num_threads(threads)
    for j, member in enumerate(members):
        weights = {name: tensor[j].clone() for name, tensor in trained.items()}
        training.load(pool.network, weights)
        accuracy = training.test(pool.network, pool.data.test, Standard())["accuracy"]
        pool.save(member, {name: tensor.cpu() for name, tensor in weights.items()}, accuracy)


def _trained(pool: Pool, members: list[str]) -> Weights:
    """The members' weights after pretraining, stacked along a first dimension.

    The sum of the members' losses has each member's own gradient, and an optimiser that works element by
    element takes each member's own step.
    """
    recipe, train = pool.pretraining, pool.data.train
    stacked = _start(pool, members)
    optimizer = _optimizer(recipe, [tensor for tensor in stacked.values() if tensor.requires_grad])
    batches = [_batches(pool, member) for member in members]
    schedule = _one_cycle(optimizer, recipe.learning_rate, len(batches[0]))
    for indices in map(torch.stack, zip(*batches, strict=True)):  # (members, batch)
        images, labels = (tensor.to(pool.device) for tensor in train.batch(indices.flatten()))
        outputs = _forward(pool.network, stacked, images.unflatten(0, indices.shape))
        optimizer.zero_grad()
        (nn.functional.cross_entropy(outputs.flatten(0, 1), labels) * len(members)).backward()
        optimizer.step()
        schedule.step()
    return {name: tensor.detach() for name, tensor in stacked.items()}


def _start(pool: Pool, members: list[str]) -> Weights:
    """θ0 of the members, stacked; what the network's author froze stays as it is drawn."""
    drawn = [
        pool.architecture.draw(
            pool.network, stream(pool.pretraining.seed, f"pretrained {member}"), pool.data.specification
        )
        for member in members
    ]
    return {
        name: torch.stack([d[name] for d in drawn]).to(pool.device).requires_grad_(parameter.requires_grad)
        for name, parameter in pool.network.named_parameters()
    }


def _forward(network: nn.Module, stacked: Weights, images: Tensor) -> Tensor:
    """Outputs (members, batch, classes) of images (members, batch, channels, height, width)."""

    def forward(weights: Weights, images: Tensor) -> Tensor:
        outputs: Tensor = functional_call(network, weights, (images,))
        return outputs

    if len(images) == 1:
        return forward({name: tensor[0] for name, tensor in stacked.items()}, images[0])[None]
    batched: Tensor = vmap(forward)(stacked, images)
    return batched


def _batches(pool: Pool, member: str) -> list[Tensor]:
    """The indices of each step: every epoch in a new order, without its last, smaller batch."""
    recipe, size = pool.pretraining, len(pool.data.train)
    if size < recipe.batch_size:
        allowed = f"{pool.source.name} has {size} images to train on"
        raise refuse("init.pretraining.batch_size", recipe.batch_size, allowed)
    orders = [
        torch.randperm(size, generator=stream(recipe.seed, f"pretraining {member}", epoch))
        for epoch in range(recipe.epochs)
    ]
    return [b for order in orders for b in order.split(recipe.batch_size) if len(b) == recipe.batch_size]


def _optimizer(recipe: Pretraining, parameters: list[Tensor]) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=recipe.learning_rate)
    return torch.optim.SGD(parameters, lr=recipe.learning_rate, momentum=0.9, nesterov=True)


def _one_cycle(optimizer: torch.optim.Optimizer, highest: float, steps: int) -> LRScheduler:
    """Learning rates up to the `highest` in the first fifth of the steps, then down (Smith & Topin 2018)."""
    up = 0.2 if steps != 5 else 0.25  # torch divides by 0 where the way up is one step
    return OneCycleLR(optimizer, highest, total_steps=steps, pct_start=up, cycle_momentum=False)
