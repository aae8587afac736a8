"""Weights & Biases; offline unless mode=online."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dataset_distillation.errors import ConfigError, UserError, member
from dataset_distillation.loggers import EvaluationView, Logger, Title

if TYPE_CHECKING:
    import pytorch_lightning.loggers
    from torch import Tensor


IMAGES = 108  # the number of images that W&B shows in one panel
LONGEST_TAG = 64  # characters; it refuses a run with a longer one


class Mode(StrEnum):
    """Whether the logger sends data to W&B."""

    offline = "offline"
    online = "online"


@dataclass
class Wandb(Logger):
    """One W&B run per job, which resumes when the job does; `wandb sync` uploads offline runs."""

    project: str = "dataset-distillation"
    entity: str | None = None
    mode: Mode = Mode.offline

    def __post_init__(self) -> None:
        self.mode = member("logger.mode", self.mode, Mode)

    def open(
        self, folder: Path, config: dict[str, Any], title: Title
    ) -> list[pytorch_lightning.loggers.Logger]:
        from pytorch_lightning.loggers import WandbLogger

        self._run = self._start(folder, config, title)
        # WandbLogger does this for runs that it starts itself.
        axis = "trainer/global_step"
        self._run.define_metric(axis)
        self._run.define_metric("*", step_metric=axis, step_sync=True)
        for curves in ("outer/*", "validation/*"):  # tables of runs are sorted by the best value
            self._run.define_metric(curves, step_metric=axis, step_sync=True, summary="min,max,last")
        return [WandbLogger(experiment=self._run)]

    def _start(self, folder: Path, config: dict[str, Any], title: Title) -> Any:
        # W&B would send telemetry even in offline mode; it reads this once in a process.
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        import wandb

        if self.mode == "online" and not wandb.login(prompt=False, verify=False):
            raise ConfigError(
                "logger.mode=online: no W&B key found; set WANDB_API_KEY or use logger.mode=offline"
            )
        earlier = _earlier(folder)
        try:
            return wandb.init(
                project=self.project,
                entity=self.entity,
                mode=self.mode.value,
                dir=folder,
                id=earlier,
                resume="allow" if earlier and self.mode == "online" else None,
                name=title.name,
                group=title.group,
                tags=[tag[:LONGEST_TAG] for tag in title.tags],
                config=config,
                reinit="finish_previous",
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )
        except wandb.Error as error:
            raise UserError(f"W&B: {error}; use logger.mode=offline to work without it") from error
        except ValueError as error:  # of the checks of its settings, which have several lines
            told = " ".join(str(error).split())
            raise UserError(f"W&B: {told}; use logger=tensorboard to work without it") from error

    def images(self, images: list[Tensor], captions: list[str], step: int) -> None:
        import wandb

        # As bytes, because W&B would stretch the contrast of each float image separately.
        panel = [
            wandb.Image((image * 255).round().byte().permute(1, 2, 0).squeeze(-1).numpy(), caption=caption)
            for image, caption in list(zip(images, captions, strict=True))[:IMAGES]
        ]
        self._run.log({"distilled/images": panel, "trainer/global_step": step})

    def finish(
        self, evaluation: EvaluationView | None, artifact: Path | None, cost: dict[str, Any], succeeded: bool
    ) -> None:
        import wandb

        from dataset_distillation.distilled.artifact import load_distilled

        if evaluation is not None:
            self._show(evaluation)
        if artifact is not None:
            distilled = load_distilled(artifact)
            # As text, because W&B accepts 100 keys, including those of nested tables.
            config = yaml.safe_dump(distilled.metadata["config"], sort_keys=False)
            metadata = {**distilled.metadata, "storage": distilled.storage.model_dump(), "config": config}
            files = wandb.Artifact(f"distilled-{self._run.id}", type="distilled-data", metadata=metadata)
            files.add_file(str(artifact))
            self._run.log_artifact(files)
        self._run.summary.update({f"cost/{key}": value for key, value in cost.items()})
        self._run.finish(exit_code=0 if succeeded else 1)

    def _show(self, evaluation: EvaluationView) -> None:
        """Log tables, charts, and values for tables of runs and for searches: `evaluation/distilled/mean`."""
        import wandb

        methods, metric = wandb.Table(dataframe=evaluation.methods), evaluation.metrics[0]
        runs = evaluation.runs.astype(object).where(evaluation.runs.notna(), None)  # JSON has no pandas.NA
        self._run.log(
            {
                "evaluation": methods,
                "evaluation/runs": wandb.Table(dataframe=runs),
                "evaluation/methods": wandb.plot.bar(methods, "method", "mean", title=f"test {metric}"),
                **{f"evaluation/{name}": wandb.Image(c) for name, c in evaluation.charts().items()},
            }
        )
        for row in evaluation.methods.to_dict("records"):
            values = {key: row[key] for key in row if key.rpartition("/")[2] in ("mean", "std", "min", "max")}
            self._run.summary.update({f"evaluation/{row['method']}/{key}": v for key, v in values.items()})


def _earlier(folder: Path) -> str | None:
    """The id of the W&B run of an earlier attempt in this folder: `run-<date>_<time>-<id>[-<n>]`."""
    attempts = sorted(path.name for path in folder.glob("wandb/*run-*-*"))
    return attempts[-1].partition("run-")[2].split("-")[1] if attempts else None
