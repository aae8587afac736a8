"""The inner steps on distilled data: as the data were made for, or as in ordinary training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from dataset_distillation.evaluation.options import Training
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.randomness import stream

if TYPE_CHECKING:
    from dataset_distillation.distilled.artifact import DistilledSet


class Schedule(Sequence[Sequence[Step]]):
    """The steps of each of `number` networks; they differ between networks if the order is random."""

    def __init__(self, distilled: DistilledSet, training: Training, seed: int, number: int) -> None:
        self.distilled, self.training, self.seed, self.number = distilled, training, seed, number

    def __len__(self) -> int:
        return self.number

    @overload
    def __getitem__(self, j: int) -> Sequence[Step]: ...
    @overload
    def __getitem__(self, j: slice) -> list[Sequence[Step]]: ...
    def __getitem__(self, j: int | slice) -> Sequence[Step] | list[Sequence[Step]]:
        if isinstance(j, slice):
            return [self[i] for i in range(*j.indices(self.number))]
        if not 0 <= j < self.number:
            raise IndexError(j)
        return self.distilled.steps_of(j, self.seed) if self._as_made else Steps(self, j)

    @property
    def _as_made(self) -> bool:
        return self.training == Training()

    @property
    def epochs(self) -> int:
        return self.training.epochs or len(self.distilled.rates_by_epoch)

    @property
    def steps_per_epoch(self) -> int:
        steps, n = self.distilled.images.shape[:2]
        return math.ceil(steps * n / size) if (size := self.training.batch_size) else steps

    @property
    def steps(self) -> int:
        """The number of steps of each network."""
        return self.distilled.batches.number if self._as_made else self.epochs * self.steps_per_epoch

    def rates(self, epoch: int) -> Tensor:
        """The learning rates (steps,) of an epoch."""
        learned = self.distilled.rates_by_epoch
        rates = learned[min(epoch, len(learned) - 1)]
        if self.training.learning_rate or self.training.mean_rate:
            rates = torch.full_like(rates, self.training.learning_rate or float(learned.mean()))
        return rates * self.training.decay if 2 * epoch >= self.epochs else rates


class Steps(Sequence[Step]):
    """The steps of network `j`, each made when it is asked for: a thousand epochs of copies fit no memory."""

    def __init__(self, schedule: Schedule, j: int) -> None:
        self.schedule, self.j = schedule, j

    def __len__(self) -> int:
        return self.schedule.steps

    @overload
    def __getitem__(self, t: int) -> Step: ...
    @overload
    def __getitem__(self, t: slice) -> list[Step]: ...
    def __getitem__(self, t: int | slice) -> Step | list[Step]:
        if isinstance(t, slice):
            return [self[i] for i in range(*t.indices(len(self)))]
        if not 0 <= t < len(self):
            raise IndexError(t)
        epoch, place = divmod(t, self.schedule.steps_per_epoch)
        distilled, training = self.schedule.distilled, self.schedule.training
        images, labels, rates = distilled.images, distilled.labels, self.schedule.rates(epoch)
        if size := training.batch_size:
            batch = self._order(epoch, images.shape[:2].numel()).split(size)[place]
            return Step(images.flatten(0, 1)[batch], labels.flatten(0, 1)[batch], rates[0])
        step = int(self._order(epoch, len(images))[place]) if training.order == "shuffled" else place
        return Step(images[step], labels[step], rates[step])

    def _order(self, epoch: int, number: int) -> Tensor:
        return torch.randperm(number, generator=stream(self.schedule.seed, f"order {self.j}", epoch))
