"""Images, labels and learning rates: the distilled data, which are the only meta-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from dataset_distillation.distilled.options import Distilled
from dataset_distillation.inner_optimizers import MadeSteps, Step
from dataset_distillation.randomness import stream


@dataclass(frozen=True)
class Batches:
    """Which of the distilled images each inner step uses.

    number: T, the number of inner steps.
    size: images per step, from all that there are; None: those of one step of the distilled data, in order,
        and after the last the first again.
    random: whether they are drawn by name and step, or one batch after the other.
    """

    number: int
    size: int | None = None
    random: bool = True

    @classmethod
    def of(cls, options: Distilled) -> Batches:
        return cls(options.unrolled, options.batch_size, options.batch_order == "random")

    def indices(self, t: int, images: int, seed: int, purpose: str) -> Tensor:
        """Return which of the `images` are used in step `t` (from 0)."""
        size = min(self.size or images, images)
        if self.random:
            return torch.randperm(images, generator=stream(seed, purpose, t))[:size]
        return torch.arange(t * size, (t + 1) * size) % images

    def steps(
        self, images: Tensor, labels: Tensor, learning_rates: Tensor, seed: int = 0, purpose: str = ""
    ) -> Sequence[Step]:
        """Return the inner steps; the name of their draws is `purpose`.

        The images are (steps, ..., n, channels, height, width), the labels (steps, ..., n), int64, or
        (steps, ..., n, outputs); the learning rates (epochs, steps, ...): as many as inner steps, or one for
        all of them. Dots stand for several networks.
        """
        rates = [rate for epoch in learning_rates for rate in epoch]
        rates = rates * self.number if len(rates) == 1 else rates
        if self.size is None:
            batches = list(zip(images, labels, strict=True))  # the same tensors in every epoch
            return [Step(*batches[t % len(batches)], rate) for t, rate in enumerate(rates)]
        last = images.ndim - labels.ndim - 4  # the dimension of n in the labels, counted from the end
        pool, targets = _joined(images, -4), _joined(labels, last)

        def make(t: int) -> Step:
            chosen = self.indices(t, pool.shape[-4], seed, purpose).to(pool.device)
            return Step(pool.index_select(-4, chosen), targets.index_select(last, chosen), rates[t])

        return MadeSteps(make, range(self.number))


def _joined(tensor: Tensor, last: int) -> Tensor:
    """(steps, ..., n, *rest) as (..., steps × n, *rest), with n in dimension `last`, a negative number."""
    return tensor.movedim(0, last - 1).flatten(last - 1, last)


def sequence(images: Tensor, labels: Tensor, learning_rates: Tensor) -> Sequence[Step]:
    """The inner steps in order: every epoch passes over the same images with its own rates (Section 3.4)."""
    return Batches(learning_rates.shape[:2].numel()).steps(images, labels, learning_rates)


def of_network(number: int) -> str:
    """The name of the draws by which network `number` is trained outside of the meta-gradient."""
    return f"batches of network {number}"


def pixels(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Map normalized images (..., channels, height, width) to pixels, on the scale of mean and std."""
    return images * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)


class DistilledData(nn.Module):
    """x̃ (steps, n, channels, height, width), normalized as the dataset is; η̃ > 0.

    Labels are classes (steps, n), int64, which are fixed; or numbers (steps, n, outputs of the network),
    float, which are learned: without bounds, or, with a temperature, as what a softmax makes probabilities
    of. The rates, (epochs, steps), (1, T), or one for all, are positive because they are the softplus of the
    parameters that are optimized. `batches` says which images a step uses.
    """

    labels: Tensor

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        learning_rates: Tensor,
        batches: Batches | None = None,
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.batches, self.temperature = batches or Batches(learning_rates.numel()), temperature
        self.images = nn.Parameter(images)
        self.raw_learning_rates = nn.Parameter(_inverse_softplus(learning_rates))
        if labels.is_floating_point():
            self.labels = nn.Parameter(labels)
        else:
            self.register_buffer("labels", labels)

    @property
    def learning_rates(self) -> Tensor:
        return functional.softplus(self.raw_learning_rates)

    @property
    def targets(self) -> Tensor:
        """What networks are trained to answer: the labels, or the probabilities that are made of them."""
        return self._targets(self.labels)

    def _targets(self, labels: Tensor) -> Tensor:
        return labels if self.temperature is None else (labels / self.temperature).softmax(-1)

    @property
    def inner_steps(self) -> int:
        """T, the number of steps that train a network."""
        return self.batches.number

    @property
    def images_per_step(self) -> int:
        """The number of images in an inner step."""
        n, size = self.images.shape[:2].numel(), self.batches.size
        return self.images.shape[1] if size is None else min(size, n)

    def steps(
        self,
        images: Tensor,
        raw_learning_rates: Tensor,
        labels: Tensor | None = None,
        *,
        seed: int = 0,
        purpose: str = "",
    ) -> Sequence[Step]:
        """The inner steps as a function of the optimized tensors: those of `parameters()`, in their order.

        seed, purpose: the name of the draws of their batches, if they are drawn.
        """
        targets = self._targets(self.labels if labels is None else labels)
        return self.batches.steps(images, targets, functional.softplus(raw_learning_rates), seed, purpose)

    def first_step(self) -> Step:
        """The first inner step, without the others, of which there may be a million."""
        rates, targets = functional.softplus(self.raw_learning_rates[:1, :1]), self.targets
        first = slice(1) if self.batches.size is None else slice(None)
        return replace(self.batches, number=1).steps(self.images[first], targets[first], rates)[0]


def _inverse_softplus(rates: Tensor) -> Tensor:
    return rates + (-(-rates).expm1()).log()  # log(exp(rate) − 1), without its overflow
