"""Estimates the memory of the meta-gradient before the run, and names a setting that needs less."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from dataset_distillation import user_code
from dataset_distillation.architectures.given import Given
from dataset_distillation.architectures.imported import Imported
from dataset_distillation.errors import UserError, refuse
from dataset_distillation.inner.memory import Memory
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.outer.options import Trainer
from dataset_distillation.run.machine import footprint, free_memory, gigabytes
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.truncated import Truncated

log = logging.getLogger(__name__)

MEASURED = 32  # the most images that memory is measured with
MARGIN = 1.1  # for the temporary memory of single operations: the peak must lie below the estimate
# Bytes of the objects of one step in a graph, without the numbers in them: a step of a perceptron with two
# layers takes 51.5 KB of the process, and its numbers are 16.9 KB.
OBJECTS = 32 * 1024


def needed(sizes: Memory, engine: Unroll, networks: int, together: bool = False) -> int:
    """Bytes of one meta-gradient.

    All networks are unrolled before the backward pass begins. At its peak, the backward pass holds the graph
    of one inner step (of all networks at once if they are batched) and gradients of the same size. Each
    network has a copy of the distilled data and a gradient for it.
    """
    per_network = engine.memory(sizes) + sizes.real + 2 * sizes.distilled
    return round(MARGIN * (networks * per_network + 2 * sizes.step * (networks if together else 1)))


def measure(loss: OuterLoss) -> Memory:
    """Measure one inner step and one real batch of the sizes of `loss`."""
    problem, network = loss.problem, loss.problem.network
    weights = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    training = InnerTraining(network, weights, problem.inner_optimizer, problem.objective.training_loss)
    distilled, point = loss.distilled, training.start()
    step = distilled.first_step()

    def of_step(images: int) -> int:
        part = _part(step, images)
        return kept_by(lambda: training.step(point, part, t=1), besides=[*distilled.parameters(), *step])

    def of_inputs(images: int) -> int:
        kept = kept_by(lambda: loss.augmented([_part(step, images)], 0)[0], besides=step)
        copies = bool(problem.augmentation.numbers) + (distilled.batches.size is not None)
        return kept + 2 * copies * step.images[:images].nbytes  # and their gradients

    def of_batch(images: int) -> int:
        return kept_by(lambda: functional_call(network, weights, (loss.images(images),)))

    return Memory(
        steps=loss.distilled.inner_steps,
        step=_extrapolated(of_step, len(step.images)) + OBJECTS,
        point=sum(tensor.nbytes for tensor in point),
        inputs=_extrapolated(of_inputs, len(step.images)),
        real=_extrapolated(of_batch, loss.outer.batch_size),
        distilled=sum(parameter.nbytes for parameter in loss.distilled.parameters()),
        on_cpu=loss.distilled.images.device.type == "cpu",
    )


def _part(step: Step, images: int) -> Step:
    return step._replace(images=step.images[:images], labels=step.labels[:images])


def _extrapolated(bytes_of: Callable[[int], int], images: int) -> int:
    """Return `bytes_of(images)`, which grows linearly, from measurements that are themselves small."""
    if images <= MEASURED:
        return bytes_of(images)
    less, more = bytes_of(MEASURED // 2), bytes_of(MEASURED)
    return more + (images - MEASURED) * (more - less) // (MEASURED - MEASURED // 2)


def kept_by(function: Callable[[], Any], besides: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps for the backward pass through `function`, besides those of given tensors."""
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> int:
        saved.append(tensor)
        return len(saved) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, saved.__getitem__):
        function()
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in saved)}
    elsewhere = {tensor.untyped_storage().data_ptr() for tensor in besides}
    saved.clear()  # a graph may keep itself alive through a tensor that it saves
    return sum(size for pointer, size in storages.items() if pointer not in elsewhere)


def free(device: torch.device) -> int | None:
    """Bytes that are free on `device`, or None if that is unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory() if device.type == "cpu" else None


def check_memory(loss: OuterLoss, trainer: Trainer, resumed: bool = False) -> int:
    """Log how much memory the meta-gradient needs and how much is free; return the former in bytes.

    The `devices` of `trainer` share the networks of an outer step, and the memory of a CPU; the figures are
    those of one process.

    resumed: the run has taken outer steps before, on a machine that could hold them.

    Raises ConfigError if more is needed than is free, unless the run is resumed or `trainer.memory` is
    `ignore`; and UserError if the user's own network cannot take a step.
    """
    engine, networks, devices = loss.unroll, loss.networks, trainer.devices
    try:
        sizes = measure(loss)
    except Exception as error:
        if isinstance(error, UserError) or not isinstance(loss.problem.architecture, Given | Imported):
            raise
        # The first training step that the author's network takes here.
        name, images = type(loss.problem.network).__name__, loss.distilled.images_per_step
        told = f"cannot be trained on {images} images in an inner step and {loss.outer.batch_size} real ones"
        raise UserError(f"{name} {told}: {user_code.describe(error)}") from error
    size, available = needed(sizes, engine, networks, loss.together), free(loss.distilled.images.device)
    line = f"the meta-gradient needs about {gigabytes(size)}"
    if devices > 1:
        line += f" in each of {devices} processes"
        if available is not None and sizes.on_cpu:
            available = (available - (devices - 1) * footprint()) // devices
    if available is None:
        log.info("memory: %s", line)
    elif size <= available:
        log.info("memory: %s; %s are free", line, gigabytes(available))
    else:
        line += f", but {gigabytes(max(0, available))} are free"
        remedy = _remedy(sizes, engine, networks, available, devices)
        if not resumed and trainer.memory != "ignore":
            raise refuse("trainer.memory", trainer.memory, line, f"{remedy}; trainer.memory=ignore tries it")
        log.warning("memory: %s; %s", line, remedy)
    return size


def _remedy(sizes: Memory, engine: Unroll, networks: int, available: int, devices: int) -> str:
    """The first change that makes it fit; changes that keep the meta-gradient the same are tried first."""
    for number in (networks, *(n for n in (8, 4, 2, 1) if n < networks)):
        for change, other in _same_gradient(engine, sizes.on_cpu).items():
            if (size := needed(sizes, other, number)) <= available:
                fewer = f" init.networks={number * devices}" if number < networks else ""
                return f"{change}{fewer} needs {gigabytes(size)}"
    shorter, selected = Truncated(), "unroll=truncated"
    if isinstance(engine, Truncated):
        shorter.window = min(shorter.window, max(1, engine.window // 2))
        selected = "unroll.stored=false"
    if (size := needed(sizes, shorter, 1)) <= available:
        change = f"{selected} unroll.window={shorter.window} init.networks={devices}"
        return f"{change} needs {gigabytes(size)}"
    larger = "a smaller outer.batch_size" if sizes.real > sizes.step else "fewer distilled.images_per_class"
    return f"use {larger} or a smaller architecture"


def _same_gradient(engine: Unroll, on_cpu: bool) -> dict[str, Unroll]:
    """The engines with the same meta-gradient as `engine`, the fastest first.

    The keys are the overrides that select them.
    """
    one_by_one = "unroll.batch_networks=off"
    engines: dict[str, Unroll] = {one_by_one: engine}
    if isinstance(engine, Truncated):
        if engine.stored:
            engines[f"unroll.stored=false {one_by_one}"] = replace(engine, stored=False)
        return engines
    engines[f"unroll=recompute {one_by_one}"] = Recompute()
    if not on_cpu:
        engines[f"unroll=recompute unroll.offload=true {one_by_one}"] = Recompute(offload=True)
    return engines
