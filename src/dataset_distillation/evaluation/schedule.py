"""The inner steps on distilled data: as the data were made for, or as in ordinary training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from dataset_distillation.evaluation.options import Training
from dataset_distillation.inner_optimizers import STEP, Step
from dataset_distillation.randomness import stream
from dataset_distillation.run.machine import check_room

if TYPE_CHECKING:
    from dataset_distillation.distilled.artifact import DistilledSet


class Schedule(Sequence[Sequence[Step]]):
    """The steps of each of `number` networks; they differ between networks if the order is random."""

    def __init__(self, distilled: DistilledSet, training: Training, seed: int, number: int) -> None:
        self.distilled, self.training, self.seed, self.number = distilled, training, seed, number
        steps = self.epochs * distilled.images.shape[:2].numel()  # at most, with batches of one image
        check_room("training.epochs", self.epochs, steps * STEP, "its steps")

    def __len__(self) -> int:
        return self.number

    @overload
    def __getitem__(self, j: int) -> Sequence[Step]: ...
    @overload
    def __getitem__(self, j: slice) -> list[Sequence[Step]]: ...
    def __getitem__(self, j: int | slice) -> Sequence[Step] | list[Sequence[Step]]:
        if isinstance(j, slice):
            return [self[i] for i in range(*j.indices(self.number))]
        if self.training == Training():
            return self.distilled.steps_of(j, self.seed)
        return [step for epoch in range(self.epochs) for step in self._epoch(epoch, j)]

    @property
    def steps(self) -> int:
        """The number of steps of each network."""
        if self.training == Training():
            return self.distilled.batches.number
        steps, n = self.distilled.images.shape[:2]
        return self.epochs * (math.ceil(steps * n / size) if (size := self.training.batch_size) else steps)

    @property
    def epochs(self) -> int:
        return self.training.epochs or len(self.distilled.rates_by_epoch)

    def _epoch(self, epoch: int, j: int) -> Iterator[Step]:
        images, labels, rates = self.distilled.images, self.distilled.labels, self._rates(epoch)
        generator = stream(self.seed, f"order {j}", epoch)
        if self.training.batch_size:
            images, labels = images.flatten(0, 1), labels.flatten(0, 1)
            order = torch.randperm(len(images), generator=generator)
            for batch in order.split(self.training.batch_size):
                yield Step(images[batch], labels[batch], rates[0])
            return
        shuffled = self.training.order == "shuffled"
        for step in torch.randperm(len(images), generator=generator) if shuffled else range(len(images)):
            yield Step(images[step], labels[step], rates[step])

    def _rates(self, epoch: int) -> Tensor:
        learned = self.distilled.rates_by_epoch
        if self.training.learning_rate:
            return torch.full_like(learned[0], self.training.learning_rate)
        return learned[min(epoch, len(learned) - 1)]
