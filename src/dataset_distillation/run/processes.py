"""The processes of a run on several devices: which program starts them, the rank of this one, its memory."""

from __future__ import annotations

import ctypes
import functools
import os
import platform

from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from dataset_distillation.errors import refuse


def environment(devices: int) -> ClusterEnvironment:
    """Return the launcher that has started one process per device, or Lightning, which starts them itself.

    A single process is Lightning's even under SLURM, whose environment would requeue the job a second time,
    beside the launcher.
    """
    if devices > 1 and os.environ.get("SLURM_NTASKS") == str(devices):
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:  # SLURM may spread the tasks over nodes in any way
            allowed, remedy = "SLURM may run its tasks on any nodes", f"use --ntasks-per-node={devices}"
            raise refuse("trainer.devices", devices, allowed, remedy) from error
    if devices > 1 and TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    return LightningEnvironment()


def rank(devices: int) -> int:
    """The number of this process: 0 distills, writes and reports; the others only help to distill."""
    launcher = environment(devices)
    if devices == 1:
        return 0
    return launcher.local_rank() if isinstance(launcher, LightningEnvironment) else launcher.global_rank()


def check(devices: int) -> None:
    """Raise ConfigError in a multirun whose launcher has not started one process per device.

    Lightning starts its processes with the command that was typed, and torchrun starts the whole multirun in
    each process: each would run the whole sweep.
    """
    if devices > 1 and not isinstance(environment(devices), SLURMEnvironment):
        allowed = "in a multirun the launcher must start the processes"
        remedy = f"set hydra.launcher.tasks_per_node={devices} with hydra/launcher=submitit_slurm"
        raise refuse("trainer.devices", devices, allowed, remedy)


@functools.cache
def keep_memory() -> None:
    """Have glibc keep large blocks that are freed, for the next ones, instead of giving them to the system.

    Each inner step allocates the same blocks again, and whatever was given back is faulted in page by page.
    One meta-gradient of AlexCifarNet (10 steps of 10 images) had 16,891 page faults, and has 1,807. That is
    1 to 3 % of its time where the system has huge pages, and was a tenth on a machine without. Results do not
    change, and the largest resident memory was 1.6 GB either way. Other C libraries have no such setting.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library, mega = ctypes.CDLL(None), 2**20
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # of malloc.h; the last may be 32 MB at most
    for option, size in ((trim_threshold, 1024 * mega), (mmap_threshold, 32 * mega), (top_pad, 64 * mega)):
        library.mallopt(option, size)
