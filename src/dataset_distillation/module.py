"""Algorithm 1 as a LightningModule."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils.data import DataLoader

from dataset_distillation.datasets import Batch
from dataset_distillation.distilled import DistilledData
from dataset_distillation.errors import UserError
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.problem import Problem
from dataset_distillation.randomness import stream


class ClippedGradient(torch.autograd.Function):
    """The identity, whose gradient is scaled down to a joint norm over all tensors of at most `maximum`.

    The norm before that is appended to `norms`.
    """

    @staticmethod
    def forward(ctx: Any, maximum: float, norms: list[Tensor], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.maximum, ctx.norms = maximum, norms
        return tuple(tensor.clone() for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        ctx.norms.append(norm)
        scale = (ctx.maximum / norm).clamp(max=1.0)
        return None, None, *(gradient * scale for gradient in gradients)


class DistillationModule(pl.LightningModule):
    """x̃, η̃ ← argmin E_{θ0} L(θT(x̃, η̃; θ0)).

    The distilled data are the only parameters: the network is no child, so `state_dict` holds nothing of
    it. Lightning does the backward pass, the optimiser and the schedule.
    """

    def __init__(self, problem: Problem, distilled: DistilledData) -> None:
        super().__init__()
        self.problem = problem
        self.distilled = distilled
        self.skipped = 0  # outer steps without a finite meta-gradient, in all
        self.skipped_in_a_row = 0
        self.norms: list[Tensor] = []  # of this outer step: each network's meta-gradient, before the clip

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        e = self.problem.experiment
        real = self.real_batch()
        population = self.problem.population("init", e.init.networks, self.global_step)
        loss = torch.stack([self.outer_loss(weights, real) for weights in population]).mean()
        self.log("outer/loss", loss.detach(), prog_bar=True)
        return loss

    def outer_loss(self, weights: dict[str, Tensor], real: Batch) -> Tensor:
        """L(θT; x, y) for one initial θ0."""
        e = self.problem.experiment
        meta = self.distilled.images, self.distilled.raw_learning_rates
        # Each network's share of the mean has the gradient of its loss over the number of networks.
        maximum = math.inf if e.outer.clip is None else e.outer.clip / e.init.networks
        meta = ClippedGradient.apply(maximum, self.norms, *meta)
        final = e.unroll.unroll(
            self.problem.network,
            weights,
            self.distilled.steps(*meta),
            e.inner_optimizer,
            e.objective.training_loss,
        )
        outputs = functional_call(self.problem.network, final, (real.images,))
        return e.objective.outcome(outputs, real.labels).loss

    def real_batch(self) -> Batch:
        """x_t of Algorithm 1: a function of the seed and the outer step."""
        e, train = self.problem.experiment, self.problem.data.train
        indices = torch.randint(
            len(train), (e.outer.batch_size,), generator=stream(e.seed, "real batch", self.global_step)
        )
        images, labels = train.batch(indices)
        return Batch(images.to(self.device), labels.to(self.device))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norm of a network's meta-gradient; take no step along a gradient that is not finite."""
        norms = torch.stack(self.norms) * self.problem.experiment.init.networks
        self.norms.clear()
        self.log("outer/meta_gradient_norm", norms.mean())
        self.log("outer/meta_gradient_norm_max", norms.max())
        if norms.isfinite().all():
            self.skipped_in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)  # Adam leaves alone what has no gradient
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= (limit := self.problem.experiment.outer.max_skipped):
            raise UserError(
                f"the meta-gradient was not finite in {limit} outer steps in a row, the last at step "
                f"{self.global_step}; lower distilled.learning_rate or the outer learning rates"
            )

    def validation_step(self, batch: Tensor, _: int) -> None:
        number = self.problem.experiment.evaluation.validation_networks
        results = held_out(self.problem, self.problem.validation, "validation", number, [self.steps()])
        self.log("validation/accuracy", results["accuracy"].mean(), prog_bar=True)
        self.log("validation/accuracy_std", results["accuracy"].std(ddof=0))
        self.log("validation/loss", results["loss"].mean())
        for (epoch, step), rate in _enumerate(self.distilled.learning_rates):
            self.log(f"learning_rates/epoch_{epoch}_step_{step}", rate)
        self.log("outer/skipped_steps", float(self.skipped))

    def steps(self) -> list[Step]:
        """The inner steps of the distilled data as they are now, without a graph."""
        with torch.no_grad():
            return list(self.distilled.steps(self.distilled.images, self.distilled.raw_learning_rates))

    def configure_optimizers(self) -> Any:
        outer = self.problem.experiment.outer
        groups = [
            {"params": [self.distilled.images], "lr": outer.learning_rate},
            {"params": [self.distilled.raw_learning_rates], "lr": outer.learning_rate_of_rates},
        ]
        optimizer = torch.optim.Adam(groups, betas=(outer.betas[0], outer.betas[1]))
        if outer.schedule == "constant":
            return optimizer
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / outer.steps, 1)))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # The loaders only count: every batch is drawn by name and step, not by the order of a loader.
    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(self.problem.experiment.outer.steps))  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(1))  # type: ignore[arg-type]


def _enumerate(rates: Tensor) -> Any:
    return (((e, s), rates[e, s]) for e in range(rates.shape[0]) for s in range(rates.shape[1]))
