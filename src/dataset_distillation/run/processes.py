"""The processes of one run on several devices: who starts them, and which of them this one is."""

from __future__ import annotations

import os

from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from dataset_distillation.errors import refuse


def environment(devices: int) -> ClusterEnvironment:
    """A launcher that has started a process a device, or else Lightning, which starts the others itself.

    One process is Lightning's also where SLURM is: it would requeue the job beside the launcher.
    """
    if devices > 1 and os.environ.get("SLURM_NTASKS") == str(devices):
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:  # its processes may lie on nodes as SLURM likes
            allowed, remedy = "SLURM may run its tasks anywhere", f"ask for --ntasks-per-node={devices}"
            raise refuse("trainer.devices", devices, allowed, remedy) from error
    if devices > 1 and TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    return LightningEnvironment()


def rank(devices: int) -> int:
    """The number of this process; 0 writes and reports, the others help it to distil."""
    started = environment(devices)
    if devices == 1:
        return 0
    return started.local_rank() if isinstance(started, LightningEnvironment) else started.global_rank()


def check(devices: int) -> None:
    """Raise ConfigError in a multirun whose launcher has not started a process a device.

    Lightning starts its processes with the command that was typed, and torchrun those of the whole multirun:
    each would run the whole sweep.
    """
    if devices > 1 and not isinstance(environment(devices), SLURMEnvironment):
        allowed = "in a multirun the launcher must start the processes"
        remedy = f"set hydra.launcher.tasks_per_node={devices} with hydra/launcher=submitit_slurm"
        raise refuse("trainer.devices", devices, allowed, remedy)
