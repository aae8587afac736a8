"""What the meta-gradient will take of the memory, said before the run; and what would take less."""

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

MARGIN = 1.1  # for what single operations need while they run: the peak is to lie below the estimate


def needed(sizes: Memory, engine: Unroll, networks: int, together: bool = False) -> int:
    """Bytes of one meta-gradient.

    All networks are unrolled before the way back begins. There one step's graph, at once for those that
    are batched, is met by gradients of its size; the distilled data have a copy and a gradient per network.
    """
    kept = engine.memory(sizes) + sizes.real + 2 * sizes.distilled
    return round(MARGIN * (networks * kept + 2 * sizes.step * (networks if together else 1)))


def measure(loss: OuterLoss) -> Memory:
    """By one inner step and one real batch of the sizes of `loss`."""
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
    """Bytes that autograd keeps for the way back through `function`."""
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> int:
        kept.append(tensor)
        return len(kept) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, kept.__getitem__):
        function()
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in kept)}
    kept.clear()  # a graph may hold itself through what it keeps
    return sum(storages.values())


def free(device: torch.device) -> int | None:
    """Bytes that are free on `device`, or None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available) if device.type == "cpu" else None


def log_memory_estimate(loss: OuterLoss, devices: int) -> int:
    """Log what the meta-gradient will take beside what is free, and return it in bytes.

    `devices` processes share the networks of an outer step, and the memory of a CPU; these are the figures
    of one.
    """
    sizes, engine, networks = measure(loss), loss.unroll, loss.networks
    size, there = needed(sizes, engine, networks, loss.together), free(loss.distilled.images.device)
    line = f"memory: the meta-gradient takes about {_gb(size)}"
    if devices > 1:
        line += f" in each of {devices} processes"
        there = there // devices if there and sizes.on_cpu else there
    if there is None:
        log.info("%s", line)
    elif size <= there:
        log.info("%s, %s are free", line, _gb(there))
    else:
        remedy = _remedy(sizes, engine, networks, there, devices)
        log.warning("%s, but %s are free; %s", line, _gb(there), remedy)
    return size


def _remedy(sizes: Memory, engine: Unroll, networks: int, there: int, devices: int) -> str:
    """The first change that makes it fit: what gives the same meta-gradient before what does not."""
    for number in (networks, *(n for n in (8, 4, 2, 1) if n < networks)):
        for change, other in _same_gradient(engine, sizes.on_cpu).items():
            if (size := needed(sizes, other, number)) <= there:
                fewer = f" init.networks={number * devices}" if number < networks else ""
                return f"{change}{fewer} takes {_gb(size)}"
    if (size := needed(sizes, window := Truncated(), 1)) <= there:
        return f"unroll=truncated unroll.window={window.window} init.networks={devices} takes {_gb(size)}"
    larger = "a smaller outer.batch_size" if sizes.real > sizes.step else "fewer distilled.images_per_class"
    return f"use {larger} or a smaller architecture"


def _same_gradient(engine: Unroll, on_cpu: bool) -> dict[str, Unroll]:
    """Engines with the meta-gradient of `engine`, or the whole one, by what asks for them, fast first."""
    one_by_one = "unroll.batch_networks=off"
    engines = {one_by_one: engine, f"unroll=recompute {one_by_one}": Recompute()}
    if not on_cpu:
        engines[f"unroll=recompute unroll.offload=true {one_by_one}"] = Recompute(offload=True)
    return engines


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
