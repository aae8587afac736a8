"""Which engine `unroll=auto` stands for."""

from __future__ import annotations

import dataclasses
import logging
import sysconfig
from pathlib import Path

from dataset_distillation.distilled.data import DistilledData
from dataset_distillation.errors import ConfigError, choice_of, refuse
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.inner.traced import TracedSteps
from dataset_distillation.kernels import available, build
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.outer.memory import free, measure, needed
from dataset_distillation.outer.options import Outer
from dataset_distillation.problem import Problem
from dataset_distillation.run.fields import Engine
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.auto import Auto
from dataset_distillation.unroll.full import Full
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.traced import Traced

log = logging.getLogger(__name__)

# Compiling the programs of LeNet takes about 100 s of one thread and saves 1 ms in each inner step that one
# program makes, be it of one network or of several (benchmarks/meta_gradient.py).
PAYS = 100_000  # inner steps of a run


def chosen(
    unroll: Unroll,
    problem: Problem,
    distilled: DistilledData,
    outer: Outer,
    networks: int,
    processes: int = 1,
) -> Unroll:
    """Return `unroll`, or the fastest engine if it is `Auto`, and log which and why.

    networks: the number of networks of an outer step in this process, one of `processes` that share the
        memory of a CPU.
    """
    if not isinstance(unroll, Auto):
        return unroll
    loss = OuterLoss(problem, distilled, outer, Full(batch_networks=unroll.batch_networks), networks)
    engine, why = _choice(loss, processes)
    engine = dataclasses.replace(engine, batch_networks=unroll.batch_networks)
    log.info("unroll=auto: %s, since %s", words(engine), why)
    return engine


def advise(unroll: Unroll, distilled: DistilledData) -> None:
    """Log which engine may be faster than `unroll`."""
    if isinstance(unroll, Full) and distilled.images.device.type == "cpu":
        log.info("unroll=auto may be faster on this CPU: unroll=traced takes about half the time on LeNet")


def words(engine: Unroll) -> str:
    """Return the overrides that select `engine`."""
    return f"unroll={choice_of(engine)}" + (" unroll.compile=true" if engine.compile else "")


def recorded(engine: Unroll) -> Engine:
    """Return what a run's record keeps of the engine that was chosen for it."""
    return Engine(**{"choice": choice_of(engine), "compile": engine.compile})


def as_recorded(record: Engine, unroll: Unroll) -> Unroll:
    """Return the engine that an earlier attempt of the run chose for `unroll`.

    Raises ConfigError if this machine cannot run it; another engine would give other bits.
    """
    kinds = {choice_of(kind()): kind for kind in (Full, Recompute, Traced)}
    engine = kinds[record.choice](compile=record.compile, batch_networks=unroll.batch_networks)
    if engine.compile and not _compiler():
        reason = f"this run began with {words(engine)}, which needs a C++ compiler and Python's header files"
        raise refuse("unroll", "auto", reason, "install them, or begin anew in another folder")
    log.info("unroll=auto: %s, as this run began", words(engine))
    return engine


def _choice(loss: OuterLoss, processes: int) -> tuple[Unroll, str]:
    problem, distilled, networks = loss.problem, loss.distilled, loss.networks
    sizes, memory = measure(loss), free(distilled.images.device)
    if memory is not None and sizes.on_cpu:
        memory //= processes

    def fits(engine: Unroll) -> bool:
        return memory is None or needed(sizes, engine, networks, loss.together) <= memory

    if not sizes.on_cpu:
        if fits(Full()):
            return Full(), "no engine has been measured on this device"
        return Recompute(), "the memory of unroll=full does not fit"
    if not fits(Traced()):
        return Recompute(), "the memory of unroll=traced does not fit"
    if not available():
        return Full(), "nothing is faster without the C++ kernels"
    if reason := _untraceable(problem, distilled):
        return Full(), reason
    steps = loss.outer.steps * distilled.inner_steps * (1 if loss.together else networks)
    if steps < PAYS:
        return Traced(), f"it is the fastest on a CPU, and compiling does not pay for {steps:,} inner steps"
    if not _compiler():
        return Traced(), "it is the fastest on a CPU without Python's header files"
    return Traced(compile=True), f"compiling pays for {steps:,} inner steps"


def _untraceable(problem: Problem, distilled: DistilledData) -> str:
    """Why an inner step cannot be traced, or nothing if it can."""
    weights = {name: p.detach().clone() for name, p in problem.network.named_parameters()}
    training = InnerTraining(
        problem.network, weights, problem.inner_optimizer, problem.objective.training_loss
    )
    step = distilled.first_step()
    try:
        TracedSteps().there(training, [t.detach() for t in training.start()], step, 1)
    except ConfigError as error:
        return str(error).split(": ", 1)[1].rsplit("; ", 1)[0]
    return ""


def _compiler() -> bool:
    """Whether torch can compile for a CPU."""
    try:
        build.compiler()
    except RuntimeError:
        return False
    return Path(sysconfig.get_path("include"), "Python.h").exists()
