"""The inner steps on distilled data: as the data were made for, or as in ordinary training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from dataset_distillation.evaluation.options import Order, Training
from dataset_distillation.inner_optimizers import MadeSteps, Step
from dataset_distillation.networks.training import batches
from dataset_distillation.randomness import stream

if TYPE_CHECKING:
    from dataset_distillation.distilled.artifact import DistilledSet


class Schedule(Sequence[Sequence[Step]]):
    """The steps of each of `number` networks; they differ between networks if the order is random.

    They are those of the distillation, at other rates if `training` says so; or, if that asks for epochs, an
    order or a batch size, passes over the images as they are stored.
    """

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
        # Each step is made when it is asked for: a thousand epochs of copies fit no memory.
        if not self._as_made:
            return MadeSteps(partial(self._step, j), range(self.steps))
        made, training = self.distilled.steps_of(j, self.seed), self.training
        if not training.ordinary and training.decay == 1:
            return made
        return MadeSteps(lambda t: made[t]._replace(learning_rate=self._rate(t)), range(len(made)))

    @property
    def _as_made(self) -> bool:
        """Whether each step has the images of a step of the distillation; its rate may be another."""
        training = self.training
        return not training.epochs and not training.batch_size and training.order == Order.learned

    @property
    def epochs(self) -> int:
        return self.training.epochs or len(self.distilled.rates_by_epoch)

    @cached_property
    def steps_per_epoch(self) -> int:
        if size := self.training.batch_size:
            return len(batches(torch.arange(self._images), size))
        return len(self.distilled.images)

    @property
    def _images(self) -> int:
        return self.distilled.images.shape[:2].numel()

    @property
    def steps(self) -> int:
        """The number of steps of each network."""
        return self.distilled.batches.number if self._as_made else self.epochs * self.steps_per_epoch

    def rates(self, epoch: int) -> Tensor:
        """The learning rates (steps,) of an epoch."""
        learned = self.distilled.rates_by_epoch
        rates = learned[min(epoch, len(learned) - 1)]
        if self.training.ordinary:
            mean = float(self.distilled.learning_rates.mean())
            rates = torch.full_like(rates, self.training.learning_rate or mean)
        return rates * self.training.decay if 2 * epoch >= self.epochs else rates

    def _rate(self, t: int) -> Tensor:
        epoch, place = divmod(t, len(self.distilled.images))
        return self.rates(epoch)[place]

    def _step(self, j: int, t: int) -> Step:
        """Step `t` of network `j`, in passes over the set."""
        epoch, place = divmod(t, self.steps_per_epoch)
        images, labels, rates = self.distilled.images, self.distilled.labels, self.rates(epoch)
        if size := self.training.batch_size:
            batch = batches(self._order(j, epoch, self._images), size)[place]
            return Step(images.flatten(0, 1)[batch], labels.flatten(0, 1)[batch], rates[0])
        shuffled = self.training.order == Order.shuffled
        step = int(self._order(j, epoch, len(images))[place]) if shuffled else place
        return Step(images[step], labels[step], rates[step])

    def _order(self, j: int, epoch: int, number: int) -> Tensor:
        return torch.randperm(number, generator=stream(self.seed, f"order {j}", epoch))
