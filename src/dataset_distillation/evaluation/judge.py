"""The table of all methods as a function of Python values: no config, no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas

from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.options import Distilled
from dataset_distillation.errors import UserError, member, refuse
from dataset_distillation.evaluation import matching
from dataset_distillation.evaluation.comparison import compare, flat, rows_of
from dataset_distillation.evaluation.options import Evaluation, Selection, Training
from dataset_distillation.evaluation.real_sets import Size
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.networks.weights import checksum
from dataset_distillation.problem import Problem


def evaluate(
    problem: Problem,
    distilled: DistilledSet,
    networks: int = 20,
    *,
    baselines: Sequence[str] | str = (),
    selection: str = "validation",
    training: Training | None = None,
) -> pandas.DataFrame:
    """Judge `distilled` by networks that it was not made with, on the test split of `problem`.

    networks: how many networks are drawn; all methods train the same ones. A known θ0 is one network.
    baselines: the methods to compare with (Section 4): `random_real`, `average_real`, `herding`, `k_center`,
        `k_means`, `optimized_real`, `nearest_neighbour_random_real`, `nearest_neighbour_k_means`,
        `full_training`, or `all` of these; `distribution_matching`, `gradient_matching`; `closed_form` of
        the linear case.
    selection: where the baselines' settings are chosen: on the `validation` split, among several lengths up
        to ten times the steps of `distilled`; or, as in the `paper`, among 1, 3 and 5 epochs by the result
        on the test split.
    training: how the networks are trained on the distilled data, if not as the data were made for; if it
        names one learning rate for all steps, the baselines' are trained so, too, with nothing to choose.

    Returns one row per method: `mean`, `std`, `min` and `max` of the objective's first metric (shares are
    between 0 and 1); the paired `difference` distilled − this method with its 95 % interval `low` to `high`,
    and what that is `about`; the number of `networks`, `sets` and `runs`; the settings that were chosen, with
    the number of `steps`; `seconds`. Further metrics have columns like `attacked_as_target mean`.

    Raises UserError, with a message of one line, if the data do not fit the problem, and ConfigError if an
    option is not allowed.
    """
    if networks < 1:
        raise refuse("networks", networks, "must be 1 or more")
    chosen_on = member("selection", selection, Selection)
    methods = [baselines] if isinstance(baselines, str) else list(baselines)
    evaluation = Evaluation(networks=networks, baselines=methods, selection=chosen_on)
    size = size_of(distilled)
    shape = Distilled(size.images_per_class, size.steps, size.epochs)
    evaluation.check(problem.objective, problem.data.specification.name, shape, problem.architecture)
    matching.check(problem, evaluation.baselines, size.images_per_class * size.steps)
    problem.init.check_held_out(networks)
    problem.check_networks(networks, evaluation.validation_networks)
    distilled = fitted(problem, distilled, "the distilled data")
    if of_another_network(problem, distilled):
        remedy = "give the problem the network, init and seed that they were made with"
        raise UserError(f"the data were made for one known network, which is not the problem's; {remedy}")
    population = problem.population("held-out", networks)
    how = training or Training()
    schedule = Schedule(distilled, how, problem.seed, len(population))
    rates = distilled.rates_by_epoch
    comparison = compare(problem, evaluation, population, schedule, size, rates, how=how)
    first, *others = problem.objective.metrics
    return pandas.DataFrame([flat(row, others, " ") for row in rows_of(comparison.runs, first)])


def size_of(distilled: DistilledSet) -> Size:
    """Return the size of the real sets that stand beside a distilled one."""
    steps, per_step = distilled.images.shape[:2]
    of_each_class = max(1, per_step // len(distilled.metadata["class_names"]))
    return Size(of_each_class, steps, len(distilled.rates_by_epoch), distilled.batches)


def fitted(problem: Problem, distilled: DistilledSet, name: str) -> DistilledSet:
    """Return the set with its images as networks see those of the problem: whitened if those are.

    Raises UserError, which begins with `name`, unless images and classes are of the problem's form.
    """
    specification, shape = problem.data.specification, tuple(distilled.images.shape[2:])
    if shape != specification.shape:
        raise UserError(f"{name}: images are {shape}, and those of the problem are {specification.shape}")
    if (classes := len(distilled.metadata["class_names"])) != specification.classes:
        raise UserError(f"{name}: has {classes} classes, and the problem has {specification.classes}")
    if distilled.plain_images is None and not specification.whitening:
        return distilled
    return replace(distilled, images=distilled.seen_as(specification))


def of_another_network(problem: Problem, distilled: DistilledSet) -> bool:
    """Whether the data are for one known network and the problem is of another."""
    known = distilled.metadata.get("initial_weights_sha256")
    return bool(known and problem.known) and checksum(problem.known or {}) != known
