"""Weights & Biases, offline unless asked for online."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_distillation.errors import ConfigError, UserError, one_of
from dataset_distillation.loggers import Logger

if TYPE_CHECKING:
    import pandas
    import pytorch_lightning.loggers
    from torch import Tensor


@dataclass
class Wandb(Logger):
    """A run of its own for each job; `wandb sync` uploads what was written offline."""

    project: str = "dataset-distillation"
    entity: str | None = None
    mode: str = "offline"

    def __post_init__(self) -> None:
        one_of("logger.mode", self.mode, ("offline", "online"))

    def open(self, folder: Path, config: dict[str, Any]) -> pytorch_lightning.loggers.Logger:
        from pytorch_lightning.loggers import WandbLogger

        self._run = self._start(folder, config)
        # What WandbLogger does for the runs that it starts itself.
        self._run.define_metric("trainer/global_step")
        self._run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return WandbLogger(experiment=self._run)

    def _start(self, folder: Path, config: dict[str, Any]) -> Any:
        import wandb

        if self.mode == "online" and not wandb.login(prompt=False, verify=False):
            raise ConfigError(
                "logger.mode=online: no W&B key here; set WANDB_API_KEY or take logger.mode=offline"
            )
        try:
            return wandb.init(
                project=self.project,
                entity=self.entity,
                mode="online" if self.mode == "online" else "offline",
                dir=folder,
                name=f"{folder.parent.name}/{folder.name}",
                # The jobs of a multirun have numbers for folders, in one folder.
                group=folder.parent.name if folder.name.isdigit() else None,
                config=config,
                reinit="finish_previous",
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )
        except wandb.Error as error:
            raise UserError(f"W&B: {error}; logger.mode=offline works without it") from error

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        import wandb

        # As bytes: W&B would stretch the contrast of each float image on its own.
        pixels = [(image * 255).round().byte().permute(1, 2, 0).squeeze(-1).numpy() for image in images]
        panel = [wandb.Image(image, caption=caption) for image, caption in zip(pixels, captions, strict=True)]
        self._run.log({"distilled/images": panel, "trainer/global_step": step})

    def finish(self, table: pandas.DataFrame | None, artifact: Path | None, succeeded: bool) -> None:
        import wandb

        if table is not None:
            self._run.log({"evaluation": wandb.Table(dataframe=table)})
        if artifact is not None:
            files = wandb.Artifact(f"distilled-{self._run.id}", type="distilled-data")
            files.add_file(str(artifact))
            self._run.log_artifact(files)
        self._run.finish(exit_code=0 if succeeded else 1)
