"""AlexNet, the paper's network for PASCAL VOC and CUB-200."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_distillation.architectures import Architecture, square, stateless
from dataset_distillation.errors import refuse

if TYPE_CHECKING:
    from torch import nn


@dataclass
class AlexNet(Architecture):
    """Krizhevsky 2014 in torchvision's form, without dropout; 57,085,780 weights for 20 classes.

    Its parameters have torchvision's names, so that torchvision's ImageNet weights fit it. Images must be
    3×224×224.

    weights: how θ0 is drawn, as in every architecture.
    """

    def check(self, shape: tuple[int, int, int]) -> None:
        if shape[0] != 3:
            allowed = "architecture=alexnet needs RGB images"
            raise refuse("dataset.channels", shape[0], allowed, "set dataset.channels=3")
        square("alexnet", shape, [224])

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torch import nn
        from torchvision.models import AlexNet

        network = stateless(AlexNet(num_classes=classes))
        # The adaptive pooling to 6×6 has no effect at 224 pixels, and its CUDA gradient is not deterministic.
        network.avgpool = nn.Identity()
        return network
