"""What a distilled set must beat: other ways to train the same held-out networks."""

from __future__ import annotations

from collections.abc import Callable

import pandas
import torch

from dataset_distillation import training
from dataset_distillation.distilled import choose, sequence
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.problem import Problem
from dataset_distillation.randomness import stream

# The grid of Section 4; the learned rates' mean ("ours") is added to it.
LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
RANDOM_SETS = 10
FULL_TRAINING_NETWORKS = 3
FULL_TRAINING_EPOCHS = 10


def random_real(problem: Problem, mean_learning_rate: float) -> pandas.DataFrame:
    """As many real training images, in as many steps, of ten random sets (Section 4).

    One learning rate for all steps, chosen from the grid on the validation split.
    """
    e, data = problem.experiment, problem.data
    labels = torch.arange(data.specification.classes).repeat_interleave(e.distilled.images_per_class)
    labels = labels.repeat(e.distilled.steps, 1)
    images = []
    for j in range(RANDOM_SETS):
        indices = choose(data.train.labels, labels.flatten(), stream(e.seed, "random real", j))
        images.append(data.train.batch(indices).images.view(*labels.shape, *data.specification.shape))

    def sets(learning_rate: float) -> list[list[Step]]:
        rates = torch.full((e.distilled.epochs, e.distilled.steps), learning_rate)
        return [list(sequence(real, labels, rates)) for real in images]

    def validation_accuracy(learning_rate: float) -> float:
        number, split = e.evaluation.validation_networks, problem.validation
        return float(held_out(problem, split, "validation", number, sets(learning_rate))["accuracy"].mean())

    best = max((mean_learning_rate, *LEARNING_RATES), key=validation_accuracy)
    return held_out(problem, data.test, "held-out", e.evaluation.networks, sets(best))


def full_training(problem: Problem, _: float) -> pandas.DataFrame:
    """Ten epochs of Adam (0.001, cosine, batches of 128) on the whole train split: the upper bound."""
    e = problem.experiment
    rows = []
    number = min(FULL_TRAINING_NETWORKS, e.evaluation.networks)
    for j, weights in enumerate(problem.population("held-out", number)):
        training.load(problem.network, weights)
        _train_on_everything(problem, j)
        rows.append(training.test(problem.network, problem.data.test, e.objective))
    return pandas.DataFrame(rows)


def _train_on_everything(problem: Problem, j: int) -> None:
    e, network, train = problem.experiment, problem.network, problem.data.train
    device = next(network.parameters()).device
    batches = [
        indices
        for epoch in range(FULL_TRAINING_EPOCHS)
        for indices in torch.randperm(len(train), generator=stream(e.seed, f"full {j}", epoch)).split(128)
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for indices in batches:
        images, labels = (tensor.to(device) for tensor in train.batch(indices))
        optimizer.zero_grad()
        e.objective.training_loss(network(images), labels).backward()
        optimizer.step()
        schedule.step()


BASELINES: dict[str, Callable[[Problem, float], pandas.DataFrame]] = {
    "random_real": random_real,
    "full_training": full_training,
}
