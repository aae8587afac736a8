"""A linear least-squares problem: the case of Section 3.3, in which everything is known."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_distillation.datasets import MOST_PIXELS, Dataset
from dataset_distillation.datasets.data import Data, Raw, Specification, TensorSplit
from dataset_distillation.datasets.splits import checksum
from dataset_distillation.errors import at_least, count, refuse
from dataset_distillation.randomness import stream
from dataset_distillation.run.machine import check_room


@dataclass
class LinearRegression(Dataset):
    """`rows` rows d ~ N(0, I) of D = channels × image_size² numbers, and targets t = dθ* + noise.

    θ* is the direction in which d varies most, of length 1. The noise is orthogonal to the columns of d, so
    θ* is exactly the optimum of ‖dθ − t‖² / (2N). Section 3.3 has a single dataset, so all three splits are
    these rows. In validation and test, the targets are the optimum's own predictions dθ*: as the noise is
    orthogonal to d(θ − θ*), ‖dθ − dθ*‖² / (2N) is the loss of θ in excess of the optimum's.
    """

    name: str = "linear_regression"
    image_size: int = count(3, most=MOST_PIXELS)
    rows: int = count(60, most=10_000_000)
    noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        # An artifact repeats these values in its config, so they are accepted; other values are refused.
        fixed = {"mean": [0.0] * self.channels, "std": [1.0] * self.channels, "class_names": ["target"]}
        for name in ("mean", "std", "class_names", "border"):
            if (value := getattr(self, name)) and value != fixed.get(name):
                raise refuse(f"dataset.{name}", value, "linear_regression has no such option")
        if self.rows < (dimension := self.channels * self.image_size**2):
            allowed = f"must be {dimension} or more, the number of columns (channels × image_size²)"
            raise refuse("dataset.rows", self.rows, allowed)
        at_least("dataset.noise", self.noise, 0)

    @property
    def numbers(self) -> bool:
        return True

    def load_test(self, seed: int) -> Data:
        return self.load(seed)  # no part can be drawn without the others

    def load(self, seed: int) -> Data:
        import torch

        columns_in_all = self.rows * self.channels * self.image_size**2
        check_room("dataset.rows", self.rows, 4 * 8 * columns_in_all, "the rows and their decomposition")
        generator, size = stream(seed, "linear regression"), self.image_size
        d = torch.randn(self.rows, self.channels * size**2, generator=generator, dtype=torch.float64)
        columns, _, directions = torch.linalg.svd(d, full_matrices=False)
        fit = d @ directions[:1].T
        noise = self.noise * torch.randn(fit.shape, generator=generator, dtype=torch.float64)
        targets = fit + noise - columns @ (columns.T @ noise)
        shape = (self.channels, size, size)
        specification = Specification(
            self.name, shape, ("target",), (0.0,) * self.channels, (1.0,) * self.channels
        )
        images = d.float().view(-1, *shape)
        train, test = (TensorSplit(labels.float(), specification, images) for labels in (targets, fit))
        raw = Raw((images, train.labels), (images, test.labels), ["target"])
        return Data(train, test, test, checksum(raw))
