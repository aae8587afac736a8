"""Estimates the memory of the meta-gradient before the run, and names a setting that needs less."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.func import functional_call

from dataset_distillation.inner.memory import Memory
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.truncated import Truncated

log = logging.getLogger(__name__)

MARGIN = 1.1  # for the temporary memory of single operations: the peak must lie below the estimate


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
    point, step = training.start(), next(loss.distilled.steps(*loss.distilled.parameters()))
    real = loss.images(loss.outer.batch_size)
    return Memory(
        steps=loss.distilled.inner_steps,
        step=kept_by(lambda: training.step(point, step, t=1)),
        point=sum(tensor.nbytes for tensor in point),
        real=kept_by(lambda: functional_call(network, weights, (real,))),
        distilled=sum(parameter.nbytes for parameter in loss.distilled.parameters()),
        on_cpu=real.device.type == "cpu",
    )


def kept_by(function: Callable[[], Any]) -> int:
    """Bytes that autograd keeps for the backward pass through `function`."""
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> int:
        saved.append(tensor)
        return len(saved) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, saved.__getitem__):
        function()
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in saved)}
    saved.clear()  # a graph may keep itself alive through a tensor that it saves
    return sum(storages.values())


def free(device: torch.device) -> int | None:
    """Bytes that are free on `device`, or None if that is unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available) if device.type == "cpu" else None


def log_memory_estimate(loss: OuterLoss, devices: int) -> int:
    """Log how much memory the meta-gradient needs and how much is free; return the former in bytes.

    `devices` processes share the networks of an outer step, and the memory of a CPU; the figures are those of
    one process.
    """
    sizes, engine, networks = measure(loss), loss.unroll, loss.networks
    size, available = needed(sizes, engine, networks, loss.together), free(loss.distilled.images.device)
    line = f"memory: the meta-gradient needs about {_gb(size)}"
    if devices > 1:
        line += f" in each of {devices} processes"
        available = available // devices if available and sizes.on_cpu else available
    if available is None:
        log.info("%s", line)
    elif size <= available:
        log.info("%s; %s are free", line, _gb(available))
    else:
        remedy = _remedy(sizes, engine, networks, available, devices)
        log.warning("%s, but %s are free; %s", line, _gb(available), remedy)
    return size


def _remedy(sizes: Memory, engine: Unroll, networks: int, available: int, devices: int) -> str:
    """The first change that makes it fit; changes that keep the meta-gradient the same are tried first."""
    for number in (networks, *(n for n in (8, 4, 2, 1) if n < networks)):
        for change, other in _same_gradient(engine, sizes.on_cpu).items():
            if (size := needed(sizes, other, number)) <= available:
                fewer = f" init.networks={number * devices}" if number < networks else ""
                return f"{change}{fewer} needs {_gb(size)}"
    if (size := needed(sizes, window := Truncated(), 1)) <= available:
        return f"unroll=truncated unroll.window={window.window} init.networks={devices} needs {_gb(size)}"
    larger = "a smaller outer.batch_size" if sizes.real > sizes.step else "fewer distilled.images_per_class"
    return f"use {larger} or a smaller architecture"


def _same_gradient(engine: Unroll, on_cpu: bool) -> dict[str, Unroll]:
    """The engines with the same meta-gradient as `engine`, or with the full one, the fastest first.

    The keys are the overrides that select them.
    """
    one_by_one = "unroll.batch_networks=off"
    engines = {one_by_one: engine, f"unroll=recompute {one_by_one}": Recompute()}
    if not on_cpu:
        engines[f"unroll=recompute unroll.offload=true {one_by_one}"] = Recompute(offload=True)
    return engines


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
