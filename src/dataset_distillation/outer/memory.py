"""What the meta-gradient will take of the memory, told before the run; and what would take less."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch
from torch.func import functional_call

from dataset_distillation.inner.memory import Memory, kept_by
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.truncated import Truncated

log = logging.getLogger(__name__)


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
        on_cpu=real.device.type == "cpu",
    )


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
    """Log what the meta-gradient will take beside what is free, and return it in bytes.

    `networks` are those of this process; the processes of a run share the memory of a CPU.
    """
    memory, engine = measure(loss), loss.problem.experiment.unroll
    devices = loss.problem.experiment.trainer.devices
    needed, there = memory.of(engine, networks, loss.together), free(loss.distilled.images.device)
    line = f"memory: the meta-gradient takes about {_gb(needed)}"
    if devices > 1:
        line += f" in each of {devices} processes"
        there = there // devices if there and memory.on_cpu else there
    if there is None:
        log.info("%s", line)
    elif needed <= there:
        log.info("%s, %s are free", line, _gb(there))
    else:
        remedy = _remedy(memory, engine, networks, there, devices)
        log.warning("%s, but %s are free; %s", line, _gb(there), remedy)
    return needed


def _remedy(memory: Memory, engine: Unroll, networks: int, there: int, devices: int) -> str:
    """The first change that makes it fit: what gives the same meta-gradient before what does not."""
    for number in (networks, *(n for n in (8, 4, 2, 1) if n < networks)):
        for change, other in _same_gradient(engine, memory.on_cpu).items():
            if (needed := memory.of(other, number)) <= there:
                fewer = f" init.networks={number * devices}" if number < networks else ""
                return f"{change}{fewer} takes {_gb(needed)}"
    if (needed := memory.of(window := Truncated(), 1)) <= there:
        return f"unroll=truncated unroll.window={window.window} init.networks={devices} takes {_gb(needed)}"
    larger = "a smaller outer.batch_size" if memory.real > memory.step else "fewer distilled.images_per_class"
    return f"take {larger} or a smaller architecture"


def _same_gradient(engine: Unroll, on_cpu: bool) -> dict[str, Unroll]:
    """Engines with the meta-gradient of `engine`, or the whole one, by what asks for them, fast first."""
    one_by_one = "unroll.batch_networks=off"
    engines = {one_by_one: engine, f"unroll=recompute {one_by_one}": Recompute()}
    if not on_cpu:
        engines[f"unroll=recompute unroll.offload=true {one_by_one}"] = Recompute(offload=True)
    return engines


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
