"""L(θT(x̃, η̃; θ0); x, y) of Eq 3 for the networks of one outer step, with a clipped gradient per network."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from dataset_distillation.architectures import Weights
from dataset_distillation.datasets.data import Batch
from dataset_distillation.distilled.data import DistilledData
from dataset_distillation.errors import ConfigError
from dataset_distillation.inner import batched
from dataset_distillation.inner.batched import BatchedTraining
from dataset_distillation.inner.step import InnerTraining, Linearization, Loss
from dataset_distillation.inner_optimizers import InnerOptimizer, Step
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import stack, unstack
from dataset_distillation.outer.options import Outer
from dataset_distillation.problem import Problem
from dataset_distillation.unroll import Moment, Unroll

log = logging.getLogger(__name__)


class ClippedGradient(torch.autograd.Function):
    """The tensors repeated for each of `networks`, stacked along a new first dimension.

    In the backward pass, each network's gradient is scaled down so that its joint norm over all tensors that
    are learned is at most `maximum`; then the gradients are summed. The norms before clipping (networks,) are
    appended to `norms`.
    """

    @staticmethod
    def forward(
        ctx: Any, networks: int, maximum: float, norms: list[Tensor], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.maximum, ctx.norms = maximum, norms
        return tuple(tensor.expand(networks, *tensor.shape).clone() for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        learned = [each for each, needed in zip(gradients, ctx.needs_input_grad[3:], strict=True) if needed]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in learned]).norm(dim=0)
        ctx.norms.append(norms)
        scale = (ctx.maximum / norms).clamp(max=1.0)
        return None, None, None, *(torch.tensordot(scale, gradient, 1) for gradient in gradients)


class OuterLoss:
    """The outer loss of each of `networks` networks, computed together or one by one, whichever is faster."""

    def __init__(
        self, problem: Problem, distilled: DistilledData, outer: Outer, unroll: Unroll, networks: int
    ) -> None:
        self.problem, self.distilled = problem, distilled
        self.outer, self.unroll, self.networks = outer, unroll, networks
        self.norms: list[Tensor] = []  # norm of each network's meta-gradient, before the clip; caller clears
        choice = unroll.batch_networks
        # Whether networks run together is decided for the inner steps and for the real batch separately.
        self.together = choice != "off" and networks > 1 and self._together(distilled.images_per_step, choice)
        self.real_together = self.together and batched.pays(problem.network, self.images(outer.batch_size))
        few = not self.real_together and training.few_at_once(problem.network)
        self.chunk = training.CPU_CHUNK if few else outer.batch_size
        self.by = unroll.linearization()
        self.outputs = unroll.outputs(self._stacked if self.real_together else self._alone)

    def _together(self, images_per_step: int, choice: str) -> bool:
        """Return whether the inner steps of all networks run as one program.

        Raises ConfigError if batch_networks=on asks for that and the network does not allow it.
        """
        network, images = self.problem.network, self.images(images_per_step)
        if choice == "auto" and not batched.pays(network, images):
            return False
        try:
            batched.check(network, images.shape[1:])
        except ConfigError as error:
            if choice == "on":
                raise
            log.info("the networks run one after the other: %s", error)
            return False
        return True

    def images(self, number: int) -> Tensor:
        """Blank images to measure a network with."""
        like = next(self.problem.network.parameters())
        return like.new_zeros(number, *self.problem.data.specification.shape)

    def __call__(self, population: Sequence[Weights], step: int, real: Batch) -> Tensor:
        """Return L(θT; x, y) of each network (networks,) at outer `step`.

        The mean of these losses has the clipped gradients.
        """
        maximum = math.inf if self.outer.clip is None else self.outer.clip / len(population)
        meta = ClippedGradient.apply(len(population), maximum, self.norms, *self.distilled.parameters())
        unrolled = self._unrolled_together if self.together else self._unrolled_one_by_one
        final = unrolled(step, population, meta)
        problem, purpose = self.problem, "augmentation of the real batch"
        images = problem.augmentation.images(real.images, problem.seed, purpose, step)
        outputs = torch.cat([self._outputs(weights, images) for weights in final])
        return torch.stack([problem.objective.outcome(each, real.labels).loss for each in outputs])

    def engine(self, step: int) -> Unroll:
        """The unroll engine for outer `step`."""
        moment = Moment(step, self.outer.steps, self.distilled.inner_steps, self.problem.seed)
        return self.unroll.at(moment)

    def inner_steps(self, own: Sequence[Tensor], step: int) -> Sequence[Step]:
        """The inner steps of outer `step` on the tensors `own`; batches and augmentation are the same for all
        networks."""
        seed, purpose = self.problem.seed, f"batches in outer step {step}"
        return self.augmented(self.distilled.steps(*own, seed=seed, purpose=purpose), step)

    def augmented(self, steps: Sequence[Step], step: int) -> Sequence[Step]:
        problem = self.problem
        return problem.augmentation.steps(steps, problem.seed, f"augmentation in outer step {step}")

    def _unrolled_together(
        self, step: int, population: Sequence[Weights], meta: tuple[Tensor, ...]
    ) -> list[Weights]:
        """The final weights of all networks, stacked if they also pass the real batch together."""
        images, rates, *learned = meta
        fixed = self.distilled.labels.expand(len(population), -1, -1) if not learned else learned[0]
        own = [images.movedim(0, 1), rates.movedim(0, -1), fixed.movedim(0, 1)]
        inner = BatchedTraining(self.problem.network, stack(population), *self._how)
        final = self.engine(step).unroll(inner, self.inner_steps(own, step))
        return [final] if self.real_together else unstack(final)

    def _unrolled_one_by_one(
        self, step: int, population: Sequence[Weights], meta: tuple[Tensor, ...]
    ) -> list[Weights]:
        network, engine = self.problem.network, self.engine(step)
        return [
            engine.unroll(InnerTraining(network, weights, *self._how), self.inner_steps(own, step))
            for weights, *own in zip(population, *meta, strict=True)
        ]

    @property
    def _how(self) -> tuple[InnerOptimizer, Loss, Linearization | None]:
        return self.problem.inner_optimizer, self.problem.objective.training_loss, self.by

    def _outputs(self, weights: Weights, images: Tensor) -> Tensor:
        """The outputs (networks, images, outputs) on the real images: of one network, or of all, stacked."""
        outputs = torch.cat([self.outputs(weights, part) for part in images.split(self.chunk)], dim=-2)
        return outputs if self.real_together else outputs.unsqueeze(0)

    def _alone(self, weights: Weights, images: Tensor) -> Tensor:
        return functional_call(self.problem.network, weights, (images,))

    def _stacked(self, weights: Weights, images: Tensor) -> Tensor:
        return batched.outputs(self.problem.network, weights, images)
