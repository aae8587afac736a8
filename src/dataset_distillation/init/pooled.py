"""What all pretrained inits share: the source that the networks are trained on, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from dataset_distillation.datasets import Dataset
from dataset_distillation.errors import instance, refuse
from dataset_distillation.init import Init, Origin
from dataset_distillation.pools.options import Pretraining
from dataset_distillation.run.records import PoolReport

if TYPE_CHECKING:
    from dataset_distillation.pools.pool import Pool


@dataclass
class Pooled(Init):
    """θ0 from a pool of networks (pools/pool.py), which are all trained in the same way.

    networks: how many networks each outer step trains.
    source: the dataset that they are trained on; None: the dataset that is distilled.
    pretraining: how they are trained.
    """

    trained: ClassVar[bool] = True

    source: Dataset | None = None
    pretraining: Pretraining = field(default_factory=Pretraining)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source is not None:
            instance("init.source", self.source, Dataset)

    def check(self, dataset: Dataset, stored: bool = False) -> None:
        if (trained_on := self.source or dataset).numbers:
            raise refuse("init.source", trained_on.name, "only classifiers are pretrained", "use init=random")
        if self.source is None:
            return
        self.source.check()
        sides = {
            "channels": (self.source.channels, dataset.channels),
            "image_size": (self.source.image_size, dataset.image_size),
        }
        for key, (of_source, of_dataset) in sides.items():
            if of_source != of_dataset:
                allowed = f"dataset.{key} is {of_dataset}, and one network reads both"
                remedy = f"set init.source.{key} and dataset.{key} to the same value"
                raise refuse(f"init.source.{key}", of_source, allowed, remedy)

    def bind(self, dataset: Dataset) -> Pooled:
        return replace(self, source=self.source or dataset)

    def trained_on(self, dataset: Dataset) -> bool:
        return self.source in (None, dataset)

    def has_seen(self, dataset: Dataset) -> bool:
        if self.trained_on(dataset):
            return True
        assert self.source is not None
        source, images = set(chain(*self.source.identities())), [*chain(*dataset.identities())]
        return sum(image in source for image in images) > len(images) / 2

    def prepare(self, origin: Origin, members: Sequence[str]) -> PoolReport | None:
        return self.pool(origin).report(members) if members else None

    def pool(self, origin: Origin) -> Pool:
        """Return the pool that holds `origin`'s networks; the first call makes it. Raises ConfigError."""
        if "_pool" not in vars(self):
            from dataset_distillation.pools.pool import Pool

            assert self.source is not None, "an init must be bound to its dataset before it gives networks"
            device = next(origin.network.parameters()).device
            pool = Pool(origin.architecture, self.source, self.pretraining, device)
            if (of_source := pool.data.specification.classes) != (classes := origin.specification.classes):
                name = origin.specification.name
                allowed = f"has {of_source} classes, and {name} has {classes}: one network cannot have both"
                raise refuse("init.source", self.source.name, allowed)
            self._pool = pool
        return self._pool
