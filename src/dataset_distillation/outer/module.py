"""Algorithm 1 as a LightningModule."""

from __future__ import annotations

import copy
import logging
from dataclasses import asdict
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dataset_distillation.datasets.data import Batch, Split
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.data import DistilledData
from dataset_distillation.errors import UserError
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.evaluation.options import Evaluation, Training
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.outer.options import Outer
from dataset_distillation.problem import Problem
from dataset_distillation.randomness import stream
from dataset_distillation.unroll import Unroll

log = logging.getLogger(__name__)


class DistillationModule(pl.LightningModule):
    """x̃, η̃ ← argmin E_{θ0} L(θT(x̃, η̃; θ0)).

    The distilled data are the only parameters: the network is not a submodule, so `state_dict` holds nothing
    of it. Lightning runs the backward pass, the optimizer and the schedule.
    """

    def __init__(
        self,
        problem: Problem,
        distilled: DistilledData,
        outer: Outer,
        unroll: Unroll,
        evaluation: Evaluation,
        training: Training,
        devices: int,
    ) -> None:
        super().__init__()
        self.problem, self.distilled = problem, distilled
        # What is not learned has no part in the norm of the meta-gradient, by which it is clipped.
        for name, parameter in distilled.named_parameters():
            parameter.requires_grad_(outer.rates[name] > 0)
        self.outer, self.devices = outer, devices
        self.evaluation, self.how = evaluation, training
        #: The moving average of the distilled data, if there is one.
        self.averaged = copy.deepcopy(distilled).requires_grad_(False) if outer.average else None
        self.mean_norm: Tensor | None = None  # the running mean of the meta-gradient's norm
        self.skipped = 0  # total number of outer steps without a finite meta-gradient
        self.skipped_in_a_row = 0
        # Networks per process; Lightning averages the gradients of the processes.
        self.networks = problem.init.networks // devices
        self.outer_loss = OuterLoss(problem, distilled, outer, unroll, self.networks)

    @property
    def kept(self) -> DistilledData:
        """What is validated and kept: the distilled data, or their moving average."""
        return self.distilled if self.averaged is None else self.averaged

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        population = self.problem.population("init", self.problem.init.networks, self.global_step)
        own = population[self.global_rank :: self.devices]
        loss = self.outer_loss(own, self.global_step, self.real_batch()).mean()
        self.log("outer/loss", loss.detach(), sync_dist=True)
        for name, value in self.outer_loss.engine(self.global_step).diagnostics().items():
            self.log(f"unroll/{name}", value)
        return loss

    def real_batch(self) -> Batch:
        """x_t of Algorithm 1: a function of the seed and the outer step."""
        train = self.problem.data.train
        generator = stream(self.problem.seed, "real batch", self.global_step)
        indices = torch.randint(len(train), (self.outer.batch_size,), generator=generator)
        images, labels = train.batch(indices)
        return Batch(images.to(self.device), labels.to(self.device))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norms of the networks' meta-gradients, and skip the step if a gradient is not finite."""
        norms: Any = self.all_gather(torch.cat(self.outer_loss.norms) * self.networks)
        norms = norms.flatten()  # of the networks of all processes
        self.outer_loss.norms.clear()
        self.log("outer/meta_gradient_norm", norms.mean())
        if len(norms) > 1:
            self.log("outer/meta_gradient_norm_max", norms.max())
            self.log("outer/meta_gradient_norm_variance", norms.var(correction=0))  # over the networks
        of_images = self.distilled.images.grad
        if self.global_step == 0 and of_images is not None and not of_images.any():
            told = "is it cut inside the network, as by detach() or round(), or are all of its units dead"
            log.warning("no gradient reaches the distilled images in the first outer step: %s?", told)
        finite = bool(norms.isfinite().all())
        self.skipped += not finite
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
        self.log("outer/skipped_share", self.skipped / (self.global_step + 1))
        if finite:
            self._clip_to_mean()
            return
        optimizer.zero_grad(set_to_none=True)  # Adam does not change a parameter without a gradient
        if self.skipped_in_a_row >= (limit := self.outer.max_skipped):
            raise UserError(
                f"the meta-gradient was not finite in {limit} outer steps in a row, the last at step "
                f"{self.global_step}; lower distilled.learning_rate or the outer learning rates"
            )

    def _clip_to_mean(self) -> None:
        """Scale the meta-gradient down to `clip_to_mean` times the running mean of its norm.

        The mean is that of the norms after this clip, so that one spike does not open the way for others.
        """
        if self.outer.clip_to_mean is None:
            return
        gradients = [p.grad for p in self.distilled.parameters() if p.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        if not norm:  # as where all units are dead: a mean of 0 would let no later gradient pass
            return
        mean = norm if self.mean_norm is None else self.mean_norm.to(norm)
        scale = (self.outer.clip_to_mean * mean / norm).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale)
        self.mean_norm = torch.lerp(norm * scale, mean, self.outer.mean_decay)
        self.log("outer/clip_to_mean_scale", scale)

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        if self.averaged is None:
            return
        done = self.global_step
        decay = min(self.outer.average, (1 + done) / (10 + done))
        for mean, new in zip(self.averaged.parameters(), self.distilled.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)

    @cached_property
    def validation(self) -> Split:
        """The part of the validation split that checkpoints are chosen on."""
        return self.problem.validation(self.evaluation.validation_images)

    def validation_step(self, batch: Tensor, _: int) -> None:
        objective = self.problem.objective
        networks = self.problem.population("validation", self.evaluation.validation_networks)
        batch_norm = self.evaluation.batch_norm
        with self.outer_loss.unroll.acceleration(self.device):
            sets = self.schedule(len(networks))
            results = held_out(self.problem, self.validation, networks, sets, batch_norm, self.how).runs
        for metric in objective.metrics:
            # A loss that is not a number is not left out: the mean of the others would look too good.
            self.log(f"validation/{metric.name}", results[metric.name].mean(skipna=False))
        first = objective.metric.name
        if len(networks) > 1:
            self.log(f"validation/{first}_std", results[first].std(ddof=1, skipna=False))
        self.log("validation/loss", results["loss"].mean(skipna=False))
        for epoch, rates in enumerate(self.kept.learning_rates):
            for step, rate in enumerate(rates):
                self.log(f"learning_rates/epoch_{epoch}_step_{step}", rate)
        self.log("outer/skipped_steps", float(self.skipped))

    def schedule(self, networks: int) -> Schedule:
        """How as many networks of the validation are trained on the present distilled data."""
        kept = self.kept
        tensors = (kept.images.detach(), kept.targets.detach(), kept.learning_rates.detach())
        present = DistilledSet(*tensors, initial_weights={}, metadata={"batches": asdict(kept.batches)})
        return Schedule(present, self.how, self.problem.seed, networks)

    def configure_optimizers(self) -> Any:
        outer = self.outer
        groups = [{"params": [p], "lr": outer.rates[name]} for name, p in self.distilled.named_parameters()]
        optimizer = torch.optim.Adam(groups, betas=(outer.betas[0], outer.betas[1]))
        if outer.schedule == "constant" and not outer.warm_up:
            return optimizer
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: outer.factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Take the rates of the present schedule, which is another one if a run is extended."""
        for scheduler in self.trainer.lr_scheduler_configs:
            for group, base in zip(
                scheduler.scheduler.optimizer.param_groups, scheduler.scheduler.base_lrs, strict=True
            ):
                group["lr"] = base * self.outer.factor(self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["skipped"] = [self.skipped, self.skipped_in_a_row]
        checkpoint["mean_norm"] = self.mean_norm

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.skipped, self.skipped_in_a_row = checkpoint["skipped"]
        mean = checkpoint.get("mean_norm")
        if mean is not None and (mean.shape != () or not mean >= 0):
            raise ValueError(f"the mean norm of its meta-gradients is {mean}")
        self.mean_norm = mean

    # The loaders only count: `stream` draws every batch by its name and step, whatever the loader's order.
    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(self.outer.steps))  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(1))  # type: ignore[arg-type]
