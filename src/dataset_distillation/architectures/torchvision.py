"""Any classification network of torchvision.models, by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_distillation.architectures import Architecture, WeightScheme, stateless
from dataset_distillation.errors import refuse

if TYPE_CHECKING:
    from torch import nn


#: Networks that cannot be unrolled, by the start of their names, and the reason.
UNFIT = {
    "mobilenet_v3": "its hard sigmoid has no gradient of a gradient",
    "googlenet": "it has several outputs",
    "inception_v3": "it has several outputs",
}


@dataclass
class TorchvisionNetwork(Architecture):
    """A network of torchvision.models, untrained, with batch statistics in BatchNorm and without dropout.

    weights: how θ0 is drawn, as in every architecture; by default by torchvision.
    name: the name in torchvision.models: `alexnet`, `resnet18`, ...

    Raises ConfigError if there is no such network or if the images do not fit it.
    """

    weights: WeightScheme = WeightScheme.own
    name: str = "???"

    def check(self, shape: tuple[int, int, int]) -> None:
        self._check_name()
        if shape[0] != 3:
            raise refuse(
                "dataset.channels",
                shape[0],
                f"architecture.name={self.name} needs RGB images",
                "set dataset.channels=3",
            )
        import torch

        # The meta device computes shapes only; it needs neither memory nor arithmetic.
        with torch.device("meta"):
            try:
                self.build(shape, 2)(torch.empty(2, *shape))
            except (RuntimeError, ValueError, AssertionError) as error:
                raise refuse(
                    "dataset.image_size",
                    shape[1],
                    f"does not fit architecture.name={self.name} ({str(error).splitlines()[0]})",
                    "enlarge dataset.image_size",
                ) from error

    def _check_name(self) -> None:
        from torchvision import models

        # `module=` leaves out the networks for detection, segmentation and video.
        names = models.list_models(module=models)
        if self.name not in names:
            close = difflib.get_close_matches(self.name, names, n=3, cutoff=0.4) or ["alexnet", "resnet18"]
            raise refuse(
                "architecture.name",
                self.name,
                "no such network in torchvision.models",
                f"did you mean {', '.join(close)}?",
            )
        for start, reason in UNFIT.items():
            if self.name.startswith(start):
                raise refuse("architecture.name", self.name, reason, "choose another, for example resnet18")

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torchvision import models

        size: dict[str, Any] = {}  # that of the images, where the network depends on it
        if self.name.startswith("vit_"):
            size["image_size"] = shape[1]
        elif self.name.startswith("maxvit"):
            size["input_size"] = shape[1:]
        return stateless(models.get_model(self.name, weights=None, num_classes=classes, **size))
