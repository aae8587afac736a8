"""The baselines (Section 4): other ways to train the same held-out networks, or to classify without them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

import pandas
import torch
from torch import Tensor

from dataset_distillation.architectures import Weights
from dataset_distillation.datasets.data import Split
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.distilled.data import Batches
from dataset_distillation.evaluation import closed_form, real_sets
from dataset_distillation.evaluation.held_out import held_out, pairs
from dataset_distillation.evaluation.matching import distribution_matching, gradient_matching
from dataset_distillation.evaluation.options import Evaluation, Training
from dataset_distillation.evaluation.real_sets import RealSet, Size
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.evaluation.selection import (
    Grid,
    Trial,
    gradient_trial,
    neighbor_trial,
    score,
    select,
    validated,
)
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.networks import training
from dataset_distillation.networks.batch_norm import by_statistics_of
from dataset_distillation.networks.weights import load_weights
from dataset_distillation.problem import Problem
from dataset_distillation.randomness import stream
from dataset_distillation.run.progress import followed

# Section 4 and S-6.1.
LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
SETS = 10
CANDIDATE_SETS, JUDGING_NETWORKS, JUDGING_IMAGES = 50, 20, 1024  # for optimized real images

FULL_TRAINING_NETWORKS = 3
FULL_TRAINING_EPOCHS = 10


def multiples(longest: int) -> Iterator[int]:
    """Yield 1, 2, 3, 5, 7, 10, 14, ..., up to `longest`, which is the last."""
    times = 1
    while times < longest:
        yield times
        times = math.ceil(1.4 * times)
    yield longest


@dataclass(frozen=True)
class BaselineContext:
    """What all baselines share: the held-out networks, and the settings that gradient descent may try.

    `size` is that of the distilled data. `learning_rates` (epochs, steps) are those of the distilled data, or
    None if there are none: baselines try them step by step, and their mean. `how` the distilled data are
    trained on is how baselines are, if it is ordinary training, which leaves no setting to choose.
    """

    problem: Problem
    evaluation: Evaluation
    networks: Sequence[Weights]
    size: Size
    learning_rates: Tensor | None = None
    how: Training = field(default_factory=Training)

    @property
    def train(self) -> Split:
        return self.problem.data.train

    @property
    def grid(self) -> Grid:
        """The settings that a baseline by gradients may try; the learning rate None is `learning_rates`."""
        rates: list[float | None] = list(LEARNING_RATES)
        if self.learning_rates is not None:
            by_steps = self.evaluation.baseline_length and self.learning_rates.shape[1] == self.size.steps
            if not by_steps or self.learning_rates.numel() > 1:  # else their mean is the one rate
                rates = [float(self.learning_rates.mean()), *rates]
            rates = [None, *rates] if by_steps else rates
        return {"learning_rate": rates, "epochs": self._epochs}

    @property
    def _epochs(self) -> list[int]:
        objective, ours, longest = self.problem.objective, self.size.epochs, self.evaluation.baseline_length
        papers = objective.baseline_epochs
        if longest is None:
            return sorted({*papers, ours})
        if self.evaluation.selection == "paper" or objective.single_step:
            return list(papers)
        lengths = {*papers, *(times * ours for times in multiples(longest))}
        return sorted(length for length in lengths if length <= longest * ours)

    @cached_property
    def random_real(self) -> list[RealSet]:
        return real_sets.random_real(self.train, self.size, self.problem.seed, SETS)

    @cached_property
    def k_means(self) -> list[RealSet]:
        return real_sets.k_means(self.train, self.size, self.problem.seed, SETS)

    def matched(self, method: Callable[[Problem, Size, int], RealSet]) -> RealSet:
        """Return the set that a later method makes."""
        return method(self.problem, self.size, self.evaluation.matching_steps)

    def trial(self, real: Sequence[RealSet]) -> Trial:
        return gradient_trial(self.problem, self.evaluation, real, self.learning_rates)

    def by_gradient(self, real: Sequence[RealSet]) -> pandas.DataFrame:
        """Train networks on real images in place of the distilled ones."""
        if self.how.ordinary:
            return self._trained_alike(real, self.problem.data.test, self.networks)
        trial = self.trial(real)
        return select(self.problem, self.evaluation, self.networks, trial, self.grid)

    def _trained_alike(
        self, real: Sequence[RealSet], split: Split, networks: Sequence[Weights]
    ) -> pandas.DataFrame:
        """Train networks on real images exactly as on the distilled ones, and test them on `split`."""
        problem, batches = self.problem, self.size.batches or Batches(self.size.steps * self.size.epochs)
        mean = 0.0 if self.learning_rates is None else float(self.learning_rates.mean())
        rate, metadata = torch.tensor([[self.how.learning_rate or mean]]), {"batches": asdict(batches)}
        made = [
            DistilledSet(images, problem.objective.relabel(labels), rate, {}, metadata)
            for images, labels in real
        ]
        schedules = [Schedule(each, self.how, problem.seed, len(networks)) for each in made]
        runs = pairs(len(real), len(networks))
        sets = [schedules[i][j] for i, j in runs]
        tested = held_out(problem, split, networks, sets, self.evaluation.batch_norm, self.how).runs
        return tested.assign(set=[i for i, _ in runs])

    def by_neighbors(self, real: Sequence[RealSet]) -> pandas.DataFrame:
        """Classify by the nearest real images instead of a network."""
        grid = {"distance": ("l1", "l2"), "k": tuple(k for k in (1, 3) if k <= real[0].labels.numel())}
        trial = neighbor_trial(self.problem, real)
        return select(self.problem, self.evaluation, self.networks, trial, grid)

    def optimized_real(self) -> list[RealSet]:
        """The best of many random sets, judged on images of the train split.

        They are judged by networks that the distillation may train, never by those that are held out for the
        test (unless θ0 is known), with the settings that suit random sets on the validation split; or as
        ordinary training has it, which leaves nothing to choose.
        """
        problem, grid, train = self.problem, self.grid, self.train
        candidates = real_sets.random_real(train, self.size, problem.seed, CANDIDATE_SETS)
        ordinary = self.how.ordinary
        chosen = {} if ordinary else validated(problem, self.evaluation, self.trial(candidates), grid)
        order = torch.randperm(len(train), generator=stream(problem.seed, "optimized real"))
        judging, judges = train.subset(order[:JUDGING_IMAGES]), problem.population("init", JUDGING_NETWORKS)

        def quality(candidate: RealSet) -> float:
            if ordinary:
                runs = self._trained_alike([candidate], judging, judges)
            else:
                runs = self.trial([candidate])(judging, judges, chosen)
            return score(runs, grid, problem.objective)

        qualities = list(map(quality, followed("judging sets of real images", candidates)))
        best = sorted(range(len(candidates)), key=qualities.__getitem__, reverse=True)
        return [candidates[place] for place in best[:SETS]]


def full_training(context: BaselineContext) -> pandas.DataFrame:
    """Ten epochs of Adam (0.001, cosine, batches of 128) on the whole train split: the upper bound."""
    problem, rows = context.problem, []
    for j, weights in enumerate(context.networks[:FULL_TRAINING_NETWORKS]):
        load_weights(problem.network, weights)
        batches = _train_on_everything(problem, j)
        of_training = context.evaluation.batch_norm == "training"
        images = (context.train.batch(indices).images for indices in batches[-10:]) if of_training else None
        with by_statistics_of(problem.network, images):
            tested = training.test(problem.network, problem.data.test, problem.objective)
        rows.append({"set": 0, "network": j, "steps": len(batches), **tested})
    return pandas.DataFrame(rows)


def _train_on_everything(problem: Problem, j: int) -> list[Tensor]:
    """Train the problem's network, in place; return the indices of each step's images."""
    objective, network, train = problem.objective, problem.network, problem.data.train
    device = problem.device
    draws = (stream(problem.seed, f"full {j}", epoch) for epoch in range(FULL_TRAINING_EPOCHS))
    orders = (torch.randperm(len(train), generator=generator) for generator in draws)
    batches = [indices for order in orders for indices in training.batches(order, 128)]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for indices in followed("training on the full train set", batches):
        images, labels = (tensor.to(device) for tensor in train.batch(indices))
        optimizer.zero_grad()
        objective.training_loss(network(images), objective.relabel(labels)).backward()
        optimizer.step()
        schedule.step()
    return batches


def _closed_form(context: BaselineContext) -> pandas.DataFrame:
    steps = closed_form.steps(context.train, context.size.images_per_class)
    plain = Training(optimizer=SGD())  # the step of Eq 6, whatever optimizer the distilled data are for
    return held_out(context.problem, context.problem.data.test, context.networks, [steps], how=plain).runs


#: Each baseline returns its runs on the test split: set, network, metrics, and the chosen settings.
BASELINES: dict[str, Callable[[BaselineContext], pandas.DataFrame]] = {
    "random_real": lambda context: context.by_gradient(context.random_real),
    "average_real": lambda context: context.by_gradient(
        [real_sets.average_real(context.train, context.size)]
    ),
    "herding": lambda context: context.by_gradient([real_sets.herding(context.train, context.size)]),
    "k_center": lambda context: context.by_gradient([real_sets.k_center(context.train, context.size)]),
    "k_means": lambda context: context.by_gradient(context.k_means),
    "optimized_real": lambda context: context.by_gradient(context.optimized_real()),
    "nearest_neighbour_random_real": lambda context: context.by_neighbors(context.random_real),
    "nearest_neighbour_k_means": lambda context: context.by_neighbors(context.k_means),
    "distribution_matching": lambda context: context.by_gradient([context.matched(distribution_matching)]),
    "gradient_matching": lambda context: context.by_gradient([context.matched(gradient_matching)]),
    "full_training": full_training,
    "closed_form": _closed_form,
}
