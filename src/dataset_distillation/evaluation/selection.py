"""How the settings of a baseline are chosen, and how each is tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, product, repeat
from typing import Any

import numpy as np
import pandas
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from dataset_distillation.architectures import Weights
from dataset_distillation.datasets.data import Split
from dataset_distillation.evaluation.held_out import pairs
from dataset_distillation.evaluation.options import Evaluation
from dataset_distillation.evaluation.real_sets import RealSet
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.objectives import Objective
from dataset_distillation.problem import Problem

#: `trial(split, networks, grid)`: one row a run, with a column for each key of the grid.
Grid = Mapping[str, Sequence[Any]]
Trial = Callable[[Split, Sequence[Weights], Grid], pandas.DataFrame]


def select(
    problem: Problem, evaluation: Evaluation, networks: Sequence[Weights], trial: Trial, grid: Grid
) -> pandas.DataFrame:
    """The runs of `networks` on the test split with the best settings of the grid.

    validation: the settings with the best score on the validation split, of other networks.
    paper: those with the best score that there is to report.
    """
    test, objective = problem.data.test, problem.objective
    if evaluation.selection == "paper":
        return best(trial(test, networks, grid), grid, objective)
    return trial(test, networks, validated(problem, evaluation, trial, grid))


def validated(problem: Problem, evaluation: Evaluation, trial: Trial, grid: Grid) -> Grid:
    """The settings with the best score on the validation split, of networks of its own."""
    networks = problem.population("validation", evaluation.validation_networks)
    runs = trial(problem.validation(evaluation.validation_images), networks, grid)
    return settings(best(runs, grid, problem.objective), grid)


def best(runs: pandas.DataFrame, grid: Grid, objective: Objective) -> pandas.DataFrame:
    """The runs with the settings whose mean metrics have the highest score; the first of equals."""
    candidates = [tried for _, tried in runs.groupby(list(grid), sort=False)]
    return max(candidates, key=lambda tried: score(tried, grid, objective))


def score(runs: pandas.DataFrame, grid: Grid, objective: Objective) -> float:
    """The objective's score of the mean metrics of `runs`; without one, the worst."""
    found = objective.score(runs.drop(columns=["set", "network", *grid]).mean().to_dict())
    return -math.inf if math.isnan(found) else found


def settings(runs: pandas.DataFrame, grid: Grid) -> Grid:
    """The grid of the one point that `runs` have been made at."""
    return {key: runs[key].unique().tolist() for key in grid}


def gradient_trial(problem: Problem, sets: Sequence[RealSet]) -> Trial:
    """Gradient descent on real images, with one learning rate for all steps."""
    objective, network = problem.objective, problem.network

    def trial(split: Split, networks: Sequence[Weights], grid: Grid) -> pandas.DataFrame:
        rows = []
        for rate in grid["learning_rate"]:
            for i, j in pairs(len(sets), len(networks)):
                load_weights(network, networks[j])
                images, labels = sets[i].images, objective.relabel(sets[i].labels)
                epoch = [Step(*batch, torch.tensor(rate)) for batch in zip(images, labels, strict=True)]
                steps = chain.from_iterable(repeat(epoch, max(grid["epochs"])))
                run = {"learning_rate": rate, "set": i, "network": j}
                # The longest training passes through the shorter ones.
                for taken in training.descent(
                    network, steps, problem.inner_optimizer, objective.training_loss
                ):
                    epochs, rest = divmod(taken, len(epoch))
                    if not rest and epochs in grid["epochs"]:
                        tested = training.test(network, split, objective)
                        rows.append({**run, "epochs": epochs, **tested})
        return pandas.DataFrame(rows)

    return trial


def neighbour_trial(problem: Problem, sets: Sequence[RealSet]) -> Trial:
    """The majority of the K nearest of the real images, l1 or l2 apart; one run a set, without a network."""
    objective = problem.objective

    def trial(split: Split, _: Sequence[Weights], grid: Grid) -> pandas.DataFrame:
        rows = []
        for distance, k in product(grid["distance"], grid["k"]):
            for i, (images, labels) in enumerate(sets):
                predicted = nearest(RealSet(images, objective.relabel(labels)), distance, k, split)
                votes = functional.one_hot(predicted, split.specification.classes).float()
                tested = training.measure(votes, split.labels, objective)
                run = {"distance": distance, "k": k, "set": i, "network": None}
                rows.append({**run, **tested, "loss": math.nan})  # votes are no logits
        return pandas.DataFrame(rows)

    return trial


def nearest(real: RealSet, distance: str, k: int, split: Split) -> Tensor:
    """The class (N,) of each image of `split` by the K nearest of the real images."""
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = KNeighborsClassifier(k, p={"l1": 1, "l2": 2}[distance], algorithm="brute")
    neighbours.fit(real.images.flatten(0, 1).flatten(1).numpy(), real.labels.flatten().numpy())
    chunks = torch.arange(len(split)).split(training.CHUNK)
    with threadpool_limits(torch.get_num_threads()):
        predicted = [neighbours.predict(split.batch(chunk).images.flatten(1).numpy()) for chunk in chunks]
    return torch.from_numpy(np.concatenate(predicted))
