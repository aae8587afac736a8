"""How the settings of a baseline are chosen, and how each setting is tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from dataset_distillation.architectures import Weights
from dataset_distillation.augmentation import of_network
from dataset_distillation.datasets.data import Split
from dataset_distillation.evaluation.held_out import images_of, pairs
from dataset_distillation.evaluation.options import Evaluation
from dataset_distillation.evaluation.real_sets import RealSet
from dataset_distillation.evaluation.statistics import plain
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.networks import training
from dataset_distillation.networks.batch_norm import by_statistics_of
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.objectives import Objective
from dataset_distillation.problem import Problem
from dataset_distillation.run.progress import followed

#: `trial(split, networks, grid)` returns one row per run, with a column for each key of the grid.
Grid = Mapping[str, Sequence[Any]]
Trial = Callable[[Split, Sequence[Weights], Grid], pandas.DataFrame]


def select(
    problem: Problem, evaluation: Evaluation, networks: Sequence[Weights], trial: Trial, grid: Grid
) -> pandas.DataFrame:
    """Return the runs of `networks` on the test split with the best settings of the grid.

    validation: the settings that score best on the validation split, with other networks.
    paper: the settings that score best in the result to report.
    """
    test, objective = problem.data.test, problem.objective
    if evaluation.selection == "paper":
        return best(trial(test, networks, grid), grid, objective)
    return trial(test, networks, validated(problem, evaluation, trial, grid))


def validated(problem: Problem, evaluation: Evaluation, trial: Trial, grid: Grid) -> Grid:
    """Return the settings that score best on the validation split, with the validation networks."""
    networks = problem.population("validation", evaluation.validation_networks)
    runs = trial(problem.validation(evaluation.validation_images), networks, grid)
    return settings(best(runs, grid, problem.objective), grid)


def best(runs: pandas.DataFrame, grid: Grid, objective: Objective) -> pandas.DataFrame:
    """Return the runs with the settings whose mean metrics score highest; of equal ones, the first."""
    candidates = [candidate for _, candidate in runs.groupby(list(grid), sort=False, dropna=False)]
    return max(candidates, key=lambda candidate: score(candidate, grid, objective))


def score(runs: pandas.DataFrame, grid: Grid, objective: Objective) -> float:
    """Return the objective's score of the mean metrics of `runs`; -inf if it has none."""
    value = objective.score(
        runs.drop(columns=["set", "network", "steps", *grid], errors="ignore").mean().to_dict()
    )
    return -math.inf if math.isnan(value) else value


def settings(runs: pandas.DataFrame, grid: Grid) -> Grid:
    """Return the grid that has only the settings of `runs`."""
    return {key: [plain(value) for value in runs[key].unique()] for key in grid}


def gradient_trial(
    problem: Problem, evaluation: Evaluation, sets: Sequence[RealSet], learned: Tensor | None = None
) -> Trial:
    """Gradient descent on real images, with one learning rate for all steps, or None for the `learned` ones.

    `learned`: (epochs, steps); passes after these repeat the last, as for the distilled data.
    """
    objective, network = problem.objective, problem.network

    def epoch_of(real: RealSet, rate: float | None, epoch: int) -> list[Step]:
        images, labels = real.images, objective.relabel(real.labels)
        if rate is None:
            assert learned is not None
            rates = learned[min(epoch, len(learned) - 1)]
        else:
            rates = torch.full((len(images),), rate)
        return [Step(*step) for step in zip(images, labels, rates, strict=True)]

    def trial(split: Split, networks: Sequence[Weights], grid: Grid) -> pandas.DataFrame:
        rows, runs = [], list(product(grid["learning_rate"], pairs(len(sets), len(networks))))
        for rate, (i, j) in followed("training on real images", runs):
            load_weights(network, networks[j])
            epochs = range(max(grid["epochs"]))
            steps = [step for epoch in epochs for step in epoch_of(sets[i], rate, epoch)]
            seen = problem.augmentation.steps(steps, problem.seed, of_network(j))
            descent = training.descent(network, seen, problem.inner_optimizer, objective.training_loss)
            # The longest training passes through the end of each shorter one.
            for done in descent:
                passes, rest = divmod(done, each := len(sets[i].images))
                if not rest and passes in grid["epochs"]:
                    # Every pass has the same images, unless these are augmented.
                    met = seen[: done if problem.augmentation.numbers else each]
                    with by_statistics_of(network, images_of(met, evaluation.batch_norm)):
                        tested = training.test(network, split, objective)
                    run = {"learning_rate": rate, "epochs": passes, "steps": done, "set": i, "network": j}
                    rows.append({**run, **tested})
        return pandas.DataFrame(rows)

    return trial


def neighbor_trial(problem: Problem, sets: Sequence[RealSet]) -> Trial:
    """The majority of the k nearest real images by l1 or l2 distance; one run per set, without a network."""
    objective = problem.objective

    def trial(split: Split, _: Sequence[Weights], grid: Grid) -> pandas.DataFrame:
        rows, runs = [], list(product(grid["distance"], grid["k"], range(len(sets))))
        for distance, k, i in followed("finding nearest neighbors", runs):
            images, labels = sets[i]
            predicted = nearest(RealSet(images, objective.relabel(labels)), distance, k, split)
            votes = functional.one_hot(predicted, split.specification.classes).float()
            tested = training.measure(votes, split.labels, objective)
            run = {"distance": distance, "k": k, "set": i, "network": None}
            rows.append({**run, **tested, "loss": math.nan})  # votes are not logits
        return pandas.DataFrame(rows)

    return trial


def nearest(real: RealSet, distance: str, k: int, split: Split) -> Tensor:
    """Return the class (N,) of each image of `split`, by the k nearest real images."""
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(k, p={"l1": 1, "l2": 2}[distance], algorithm="brute")
    classifier.fit(real.images.flatten(0, 1).flatten(1).numpy(), real.labels.flatten().numpy())
    chunks = torch.arange(len(split)).split(training.CHUNK)
    with threadpool_limits(torch.get_num_threads()):
        predicted = [classifier.predict(split.batch(chunk).images.flatten(1).numpy()) for chunk in chunks]
    return torch.from_numpy(np.concatenate(predicted))
