"""Networks of other architectures that judge distilled data: are these made for one network alone?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dataset_distillation import architectures
from dataset_distillation.distilled.artifact import DistilledSet
from dataset_distillation.evaluation.explain import Variant
from dataset_distillation.evaluation.options import Training
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.problem import Problem


def transferred(
    problem: Problem, distilled: DistilledSet, how: Training, names: Sequence[str], number: int
) -> Iterator[Variant]:
    """Yield the same set for `number` random networks of each architecture, with its default options."""
    specification, sets = problem.data.specification, Schedule(distilled, how, problem.seed, number)
    for name in names:
        architecture = architectures.by_name(name, {})
        network = architecture.build(specification.shape, specification.classes).to(problem.device)
        other = replace(problem, architecture=architecture, network=network)
        yield Variant(f"distilled_on_{name}", sets, how, problem.data.test, other)
