"""The options of launchers and sweepers: they ignore wrong ones or fail late, so these are checked first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dataset_distillation.errors import given, refuse
from dataset_distillation.run.records import MOST_JOBS

MANY = 10**6
Limits = dict[str, tuple[float, float]]
Words = dict[str, tuple[str, str]]

SUBMITIT: Limits = {
    "timeout_min": (1, 10**7),
    "cpus_per_task": (1, MANY),
    "gpus_per_node": (0, MANY),
    "tasks_per_node": (1, MANY),
    "nodes": (1, MANY),
    "mem_gb": (0, MANY),  # 0: all that a node has
    "cpus_per_gpu": (1, MANY),
    "gpus_per_task": (0, MANY),
    "signal_delay_s": (0, MANY),
    "max_num_timeout": (0, MANY),
    "array_parallelism": (1, MANY),
}
SAMPLER: Limits = {
    "sampler.n_startup_trials": (0, MANY),
    "sampler.n_ei_candidates": (1, MANY),
    "sampler.n_ehvi_candidates": (1, MANY),
    "sampler.population_size": (2, MANY),
    "sampler.inc_popsize": (1, MANY),
}

#: (least, most) of numbers, by the class of the launcher or sweeper and by key.
LIMITS: dict[str, Limits] = {
    "JoblibLauncher": {"verbose": (0, MANY), "timeout": (1, 10**9)},
    # One process per job: only SLURM starts several of which each knows its rank.
    "LocalLauncher": SUBMITIT | {"tasks_per_node": (1, 1), "nodes": (1, 1)},
    "SlurmLauncher": SUBMITIT,
    "BasicSweeper": {"max_batch_size": (1, MANY)},
    # A search for n_jobs=0 at once would never end.
    "OptunaSweeper": {"n_trials": (1, MOST_JOBS), "n_jobs": (1, MOST_JOBS), "max_failure_rate": (0, 1)}
    | SAMPLER,
}

MEMORY = (r"[1-9]\d{0,8}[KMGT]?", "must be such as 500M or 4G")

#: Patterns of words, and what they allow.
WORDS: dict[str, Words] = {
    "JoblibLauncher": {
        "n_jobs": (r"-?[1-9]\d*", "must be a number of processes, or -1 for one per CPU"),
        # Hydra's launcher overwrites `backend`, with which joblib ignores or refuses the others.
        "backend": ("loky", "must be loky, joblib's only backend that can run these jobs"),
        "prefer": ("processes", "must be processes, since threads cannot run these jobs"),
        "require": ("(?!)", "must be null, since threads cannot run these jobs"),
        "pre_dispatch": (
            r"all|([1-9]\d{0,3} ?\* ?)?n_jobs|[1-9]\d{0,5}",
            "must be all, a number, or like 2*n_jobs",
        ),
        "batch_size": (r"auto|[1-9]\d{0,5}", "must be auto, or greater than 0"),
        "max_nbytes": (r"\d{1,15}|\d{1,9}(\.\d{1,9})?[KMG]", "must be such as 500K, 1M or 2G"),
        "mmap_mode": (r"r\+|r|w\+|c", "must be one of c, r, r+, w+"),
    },
    "SlurmLauncher": {"mem_per_gpu": MEMORY, "mem_per_cpu": MEMORY},
    "OptunaSweeper": {"direction": ("minimize|maximize", "must be minimize or maximize")},
}


def check_options(hydra: DictConfig) -> None:
    """Raise ConfigError for the first option of the launcher or of the sweeper that cannot be meant."""
    for group in ("launcher", "sweeper"):
        prefix, options = f"hydra.{group}", hydra[group]
        if not isinstance(options, DictConfig):
            value = "null" if options is None else options
            raise refuse(prefix, value, "has no keys", f"use hydra/{group}=basic")
        kind = str(options.get("_target_")).rpartition(".")[2]
        for key, value in _values(options):
            if isinstance(value, str):
                given(f"{prefix}.{key}", value)
            _check_limits(f"{prefix}.{key}", value, LIMITS.get(kind, {}).get(key))
            _check_word(f"{prefix}.{key}", value, WORDS.get(kind, {}).get(key))
    _check_signal(hydra.launcher)


def _values(options: DictConfig) -> Iterator[tuple[str, Any]]:
    """Yield each option that is set, with those of the sampler of a search; `a.b` is a key."""
    for key in options:
        if OmegaConf.is_missing(options, key) or (value := options[key]) is None:
            continue
        if key == "sampler":
            yield from ((f"{key}.{name}", each) for name, each in _values(value))
        elif key != "params":
            yield str(key), value


def _check_limits(key: str, value: Any, limits: tuple[float, float] | None) -> None:
    if limits is None:
        return
    least, most = limits
    if not least <= value <= most:
        allowed = f"{least}" if least == most else f"from {least:,} to {most:,}"
        raise refuse(key, value, f"must be {allowed}")


def _check_word(key: str, value: Any, word: tuple[str, str] | None) -> None:
    # The direction of a search is a member of an enumeration, or a text, or a list of these.
    if word and not re.fullmatch(word[0], text := str(getattr(value, "name", value))):
        raise refuse(key, text, word[1])


def _check_signal(launcher: DictConfig) -> None:
    """Raise ConfigError if jobs would be told to save their state before they start."""
    delay, minutes = launcher.get("signal_delay_s", 0), launcher.get("timeout_min", 1)
    if delay and delay >= 60 * minutes:
        allowed = f"must be less than the {minutes} minutes of timeout_min"
        raise refuse("hydra.launcher.signal_delay_s", delay, allowed)
