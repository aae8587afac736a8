"""Networks that the distillation never saw judge the distilled data."""

from __future__ import annotations

from collections.abc import Sequence

import pandas

from dataset_distillation import training
from dataset_distillation.datasets import Split
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.problem import Problem


def held_out(
    problem: Problem, split: Split, purpose: str, number: int, sets: Sequence[Sequence[Step]] = ((),)
) -> pandas.DataFrame:
    """Train held-out networks on sets of inner steps and test them on `split`: one row a run.

    Run j trains network j mod N on set j mod S and there are max(N, S) runs, N being `number`, or 1 for a
    fixed initialization. The same purpose gives the same networks, so two calls are paired run by run.
    """
    e, network = problem.experiment, problem.network
    population = problem.population(purpose, number)
    rows = []
    for j in range(max(len(population), len(sets))):
        training.load(network, population[j % len(population)])
        training.train(network, sets[j % len(sets)], e.inner_optimizer, e.objective.training_loss)
        rows.append(training.test(network, split, e.objective))
    return pandas.DataFrame(rows)
