"""What the meta-gradient will take of the memory, told before the run; and what would take less."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from dataset_distillation.inner_training import InnerTraining
from dataset_distillation.outer_loss import OuterLoss
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.recompute import Recompute

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Memory:
    """Bytes a network, but for `steps`: how many inner steps there are."""

    steps: int
    step: int  # the graph of one of them
    point: int  # the weights and the optimiser's state
    real: int  # the graph of the real batch
    distilled: int  # what is learned

    def of(self, engine: Unroll, networks: int, together: bool = False) -> int:
        """Bytes of one meta-gradient.

        All networks are unrolled before the way back begins. There one step's graph, at once for those that
        are batched, is met by gradients of its size; the distilled data have a copy and a gradient a network.
        """
        kept = engine.memory(self.steps, self.step, self.point) + self.real + 2 * self.distilled
        return networks * kept + 2 * self.step * (networks if together else 1)


def measure(loss: OuterLoss) -> Memory:
    """By one inner step and one real batch of the experiment's sizes."""
    e, network = loss.problem.experiment, loss.problem.network
    weights = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    training = InnerTraining(network, weights, e.inner_optimizer, e.objective.training_loss)
    point, step = training.start(), next(loss.distilled.steps(*loss.distilled.parameters()))
    real = loss.images(e.outer.batch_size)
    return Memory(
        steps=e.distilled.inner_steps,
        step=kept_by(lambda: training.step(point, step, t=1)),
        point=sum(tensor.nbytes for tensor in point),
        real=kept_by(lambda: functional_call(network, weights, (real,))),
        distilled=sum(parameter.nbytes for parameter in loss.distilled.parameters()),
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
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def tell(loss: OuterLoss, networks: int) -> int:
    """Log what the meta-gradient of `networks` will take beside what is free, and return it in bytes."""
    memory, engine = measure(loss), loss.problem.experiment.unroll
    needed, there = memory.of(engine, networks, loss.together), free(loss.distilled.images.device)
    line = f"memory: the meta-gradient takes about {_gb(needed)}"
    if there is None:
        log.info("%s", line)
    elif needed <= there:
        log.info("%s, %s are free", line, _gb(there))
    else:
        log.warning("%s, but %s are free; %s", line, _gb(there), _remedy(memory, networks, there))
    return needed


def _remedy(memory: Memory, networks: int, there: int) -> str:
    """The first change that makes it fit, the least one first."""
    for number in (networks, *(n for n in (8, 4, 2, 1) if n < networks)):
        if (needed := memory.of(Recompute(), number)) <= there:
            fewer = f" init.networks={number}" if number < networks else ""
            return f"unroll=recompute unroll.batch_networks=off{fewer} takes {_gb(needed)}"
    return "take fewer distilled.images_per_class, a smaller outer.batch_size or a smaller architecture"


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
