"""Networks that the distillation never saw are trained on the distilled data and tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas
import torch
from torch import Tensor

from dataset_distillation.architectures import Weights
from dataset_distillation.augmentation import of_network
from dataset_distillation.datasets.data import Split
from dataset_distillation.evaluation.options import Statistics, Training
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.networks import training
from dataset_distillation.networks.batch_norm import by_gathered, by_statistics_of, gather
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.problem import Problem
from dataset_distillation.run.progress import followed


class HeldOutResult(NamedTuple):
    """One row per run with `set`, `network`, `steps` and metrics; all runs' mean confusion matrix, if any.

    The matrix is [true][predicted].
    """

    runs: pandas.DataFrame
    confusion: list[list[float]] | None


def pairs(sets: int, networks: int) -> list[tuple[int, int]]:
    """Return (set, network) of each run.

    Of S sets and N networks, run j trains network j mod N on set j mod S; there are max(N, S) runs.
    """
    return [(j % sets, j % networks) for j in range(max(sets, networks))]


def images_of(steps: Sequence[Step], batch_norm: Statistics) -> Iterator[Tensor] | None:
    """Return the batches whose statistics BatchNorm uses after these steps; None: each test batch's own."""
    return (step.images for step in steps) if steps and batch_norm == "training" else None


def held_out(
    problem: Problem,
    split: Split,
    networks: Sequence[Weights],
    sets: Sequence[Sequence[Step]] = ((),),
    batch_norm: Statistics = Statistics.training,
    how: Training | None = None,
) -> HeldOutResult:
    """Train networks on sets of inner steps, as `pairs` says, and test them on `split`.

    Two calls with the same networks are paired: run j of both uses the same network. `how` has the optimizer
    and the augmentation, if they are not the problem's, and whether BatchNorm has running statistics.
    """
    objective, network, how = problem.objective, problem.network, how or Training()
    optimizer, augmentation = (
        how.optimizer or problem.inner_optimizer,
        how.augmentation or problem.augmentation,
    )
    rows, matrices = [], []
    for i, j in followed("training and testing held-out networks", pairs(len(sets), len(networks))):
        load_weights(network, networks[j])
        steps = augmentation.steps(sets[i], problem.seed, of_network(j))
        if how.running_statistics:
            gather(network)
        training.train(network, steps, optimizer, objective.training_loss)
        statistics = images_of(steps, batch_norm)
        with by_gathered(network) if how.running_statistics else by_statistics_of(network, statistics):
            outputs, labels = training.outputs(network, split)
        run = {"set": i, "network": j, "steps": len(steps)}
        rows.append({**run, **training.measure(outputs, labels, objective)})
        if not objective.numbers:
            matrices.append(confusion(outputs, labels))
    mean = torch.stack(matrices).mean(dim=0).tolist() if matrices else None
    return HeldOutResult(pandas.DataFrame(rows), mean)


def confusion(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return [true][predicted]: the share of each true class that is predicted as each class.

    Outputs (n, classes); labels (n,). The row of a class without images is 0.
    """
    from sklearn.metrics import confusion_matrix

    classes, predicted = range(outputs.shape[1]), outputs.argmax(dim=1)
    shares = confusion_matrix(labels.cpu(), predicted.cpu(), labels=classes, normalize="true")
    return torch.from_numpy(shares)
