"""The jobs of a multirun: the values of its sweep are counted, and then expanded once."""

from __future__ import annotations

import dataclasses
import math
import random
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from hydra.core.override_parser.types import Override, RangeSweep

from dataset_distillation.errors import refuse
from dataset_distillation.run.records import MOST_JOBS


@dataclass(frozen=True)
class Expansion:
    """The overrides of a multirun, with every value of each key listed in the order in which its jobs run.

    Hydra's sweeper gets `arguments`, in which nothing is left to expand, so that its jobs are `jobs`.
    """

    values: dict[str, list[str]]  # by key; a key that is not swept has one

    @classmethod
    def of(cls, overrides: list[Override]) -> Expansion:
        """Expand `overrides`; if a key occurs twice, the last one counts.

        Raises ConfigError if a key has no value, if there are too many jobs, or for an interval.
        """
        last = {override.get_key_element(): override for override in overrides}
        swept = {key: override for key, override in last.items() if override.is_sweep_override()}
        counts = {key: _count(key, override) for key, override in swept.items()}
        for key, number in counts.items():
            typed = swept[key].get_value_string()
            if number == 0:
                raise refuse(key, typed, "has no values to sweep over")
            if (jobs := math.prod(counts.values())) > MOST_JOBS:
                raise refuse(key, typed, f"the multirun would have {jobs} jobs, and {MOST_JOBS} are allowed")
        return cls({key: _values(override) for key, override in last.items()})

    @property
    def arguments(self) -> list[str]:
        return [f"{key}={','.join(values)}" for key, values in self.values.items()]

    @cached_property
    def jobs(self) -> list[list[str]]:
        """The overrides of each job, by its number: all combinations, in the order of Hydra's sweeper."""
        jobs = product(*([f"{key}={value}" for value in values] for key, values in self.values.items()))
        return [[override for override in job if not override.startswith("hydra.")] for job in jobs]

    def typical(self, most: int = 100) -> list[int]:
        """The numbers of all jobs, or, if there are more than `most`, of those in which a value occurs first.

        To compose a job takes a tenth of a second.
        """
        if len(self.jobs) <= most:
            return list(range(len(self.jobs)))
        seen: set[str] = set()
        first = []
        for number, job in enumerate(self.jobs):
            if not seen.issuperset(job):
                seen.update(job)
                first.append(number)
        return first[:most]


def _count(key: str, override: Override) -> int:
    """Return the number of values of a sweep; ranges are not expanded."""
    sweep, line = override.value(), override.get_value_string()
    if not override.is_discrete_sweep():
        raise refuse(key, line, "only a search can use an interval")
    if not isinstance(sweep, RangeSweep):
        return len(list(override.sweep_iterator()))
    start, stop, step = (float(number or 0) for number in (sweep.start, sweep.stop, sweep.step))
    if not math.isfinite(start + stop + step) or step == 0:
        raise refuse(key, line, "must have finite ends and a step other than 0")
    return max(0, math.ceil((stop - start) / step))


def _values(override: Override) -> list[str]:
    """Return the values of an override as Hydra writes them, shuffled alike each time.

    So the same command has the same jobs, and `sweep.resume` finds them.
    """
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    sweep = override.value()
    if not getattr(sweep, "shuffle", False):
        return list(override.sweep_string_iterator())
    ordered = dataclasses.replace(override, _value=dataclasses.replace(sweep, shuffle=False))  # type: ignore[type-var]
    values = list(ordered.sweep_string_iterator())
    random.Random(override.input_line).shuffle(values)
    return values
