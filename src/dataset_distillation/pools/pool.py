"""Pools of pretrained networks: trained once, stored on disk, and shared by all runs that need the same."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel
from pydantic_core import from_json
from torch import nn

from dataset_distillation import user_code
from dataset_distillation.architectures import Architecture
from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.data import Data
from dataset_distillation.datasets.whitening import Whitening
from dataset_distillation.errors import FileError, NoFile, short
from dataset_distillation.files import opened, write, write_json
from dataset_distillation.networks.weights import LARGEST, checksum, safetensors_header
from dataset_distillation.pools.options import Pretraining
from dataset_distillation.pools.pretraining import Member, check, train_members
from dataset_distillation.run.progress import progress
from dataset_distillation.run.records import PoolReport, Share
from dataset_distillation.run.workers import deaf

log = logging.getLogger(__name__)

# The number of networks that a GPU trains as one batched program. On a CPU, batching is slower (LeNet, batch
# 128, eight networks: 1.6 times as long per network), so the cores train different networks instead.
GPU_NETWORKS = 32
CANNOT_BE_TRUSTED = (FileError, OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError)


class _About(BaseModel):
    """The metadata of a member."""

    accuracy: Share
    sha256: str


@dataclass(frozen=True)
class Pool:
    """Networks of one architecture, trained on the train split of one source; one file per network.

    Each member has a name; the name and `pretraining.seed` determine its weights, whichever process trains it
    and whatever else is in the pool.
    """

    architecture: Architecture
    source: Dataset
    pretraining: Pretraining
    device: torch.device

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
        if not recipe["compile"]:  # left out, as in keys of older pools
            del recipe["compile"]
        # Without arguments of the user's network, as in keys of older pools.
        options = {key: value for key, value in asdict(self.architecture).items() if value is not None}
        return {
            "format": 3,
            "architecture": {"kind": type(self.architecture).__name__, **options},
            "network": repr(self.network),
            "code": self._code,
            "source": self._images,
            "border": self.source.border,
            "validation": self.source.validation,
            "pretraining": recipe,
            "device": self.device.type,
            "torch": torch.__version__,
            **self._split,
        }

    @property
    def _images(self) -> dict[str, Any]:
        """What networks see; without a word on whitening if there is none, as in keys of older pools."""
        whitening = self.data.specification.whitening
        seen = replace(self.data.specification, whitening=None, name=self.source.name)
        source = asdict(seen) | {"checksum": self.data.checksum}
        del source["whitening"]
        if whitening:
            kind = [] if whitening.kind == Whitening.zca else [whitening.kind]  # older pools knew no other
            source["whitening"] = [whitening.regularization, whitening.train_checksum, *kind]
        return source

    @property
    def _split(self) -> dict[str, int]:
        """The seed of the validation split; left out if it is the pool's own, as in keys of older pools."""
        seed = self.source.split_seed
        return {} if seed in (None, self.pretraining.seed) else {"split_seed": seed}

    @property
    def _code(self) -> str:
        """SHA-256 of the modules that define the network; torch's count only if they define its class."""
        first = type(self.network).__module__
        return user_code.checksum([first, *sorted(self.architecture.modules(self.network) - {first})])

    @cached_property
    def folder(self) -> Path:
        key = hashlib.sha256(json.dumps(self.made_of, sort_keys=True).encode()).hexdigest()[:16]
        kind = type(self.architecture).__name__.lower()
        return Path(self.pretraining.folder, Path(f"{self.source.name.lower()}-{kind}-{key}").name).absolute()

    def members(self, names: Sequence[str]) -> list[Member]:
        """Return the members of these names, verified; missing or damaged ones are trained first.

        If several jobs need the same member, one trains it and the others wait.
        """
        sound = self._sound(names)
        if missing := [name for name in names if name not in sound]:
            check(self.data, self.pretraining, self.device)
            write_json(self.folder / "pool.json", self.made_of)
            with self._alone():
                sound |= self._sound(missing)
                if missing := [name for name in missing if name not in sound]:
                    self._train(missing)
                    sound |= self._sound(missing)
        return [sound[name] for name in names]

    def report(self, names: Sequence[str]) -> PoolReport:
        """The pool's part of a run's result: the accuracy of its networks on the source's test split."""
        accuracies = torch.tensor([member.accuracy for member in self.members(names)], dtype=torch.float64)
        return PoolReport(
            source=self.data.specification.name,
            networks=len(names),
            accuracy_mean=accuracies.mean().item(),
            accuracy_std=accuracies.std().item() if len(names) > 1 else None,
            accuracy_min=accuracies.min().item(),
            folder=str(self.folder),
        )

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
        jobs = (joblib.delayed(self._train_group)(group) for group in groups)
        # Use processes even where joblib would use threads, as in a job of its launcher: `functional_call`
        # swaps the weights of the network in place, so two threads must not share the network.
        with deaf():  # a signal ends this process, which ends its workers
            done = joblib.Parallel(workers, backend="loky", return_as="generator_unordered")(jobs)
        with closing(done), progress("pretraining networks", len(members)) as advance:
            for group, _ in zip(groups, done, strict=True):
                advance(len(group))

    def _train_group(self, names: list[str]) -> None:
        members = train_members(
            self.architecture, self.network, self.data, self.pretraining, self.device, names, str(self.folder)
        )
        for name, member in zip(names, members, strict=True):
            self.save(name, member)

    def _workers(self, members: int) -> int:
        if self.device.type != "cpu":
            return 1
        cores = joblib.cpu_count()
        return min(self.pretraining.workers or cores, cores, members)

    def _path(self, member: str) -> Path:
        return self.folder / f"{member.replace(' ', '-')}.safetensors"

    def _sound(self, names: Sequence[str]) -> dict[str, Member]:
        return {name: member for name in names if (member := self._read(name))}

    def _read(self, name: str) -> Member | None:
        """Return a member, verified; None if it is missing or damaged."""
        path, parameters = self._path(name), dict(self.network.named_parameters())
        try:
            with opened(path, LARGEST) as file:
                header = from_json(safetensors_header(file))
                file.seek(0)
                weights = safetensors.torch.load(file.read())
            about = _About.model_validate_json(header["__metadata__"]["member"])
            if about.sha256 != checksum(weights):
                raise ValueError("its checksum is not that of its weights")
            if {n: w.shape for n, w in weights.items()} != {n: p.shape for n, p in parameters.items()}:
                raise ValueError("its weights are not those of the network")
            return Member({parameter: weights[parameter] for parameter in parameters}, about.accuracy)
        except NoFile:
            return None
        except CANNOT_BE_TRUSTED as error:
            log.warning("%s is damaged (%s); training it again", path, short(error))
            return None

    def save(self, name: str, member: Member) -> None:
        # All metadata are in one key: safetensors writes several keys in an order that changes between calls.
        metadata = json.dumps({"accuracy": member.accuracy, "sha256": checksum(member.weights)})
        write(self._path(name), safetensors.torch.save(member.weights, {"member": metadata}))
