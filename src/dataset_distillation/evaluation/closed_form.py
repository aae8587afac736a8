"""The best that one step on M distilled pairs can do in the linear case of Section 3.3.

Let H = dᵀd / N, of full rank D, with eigenvalues λ1 ≥ ... ≥ λD and eigenvectors u1, ..., uD, and θ* the
optimum, so that the excess loss of θ is (θ − θ*)ᵀ H (θ − θ*) / 2. By Eq 6 one step leads from θ0 to

    θ1 − θ* = (I − A) θ0 + b − θ*,    A = (η̃/M) d̃ᵀd̃,    b = (η̃/M) d̃ᵀt̃.

A is symmetric, of rank M at most, and b can be any vector in the range of A, as t̃ is free. Let θ0 have mean
μ and covariance σ²I, and let δ = θ* − μ. The expected excess loss is

    σ²/2 · tr (I − A) H (I − A)  +  cᵀHc / 2,    c = (I − A) μ + b − θ* = s − δ,  s = b − Aμ,

where s, too, can be any vector in the range of A. The first term is σ²/2 · ‖H^½ − H^½ A‖², the squared
distance of H^½ to a matrix of rank M. By Eckart and Young it is at least σ²/2 · (λ_{M+1} + ... + λD), and
exactly that for A = Σ_{i≤M} ui uiᵀ, the projection onto the leading eigenvectors. The second term is at
least 0, and it is 0 if δ lies in the range of A. Hence no M pairs have an expected excess loss below

    σ²/2 · Σ_{i>M} λi,

which is 0 for M ≥ D. The following pairs reach the bound if δ lies in the span of u1, ..., uM:

    d̃ = N (u1, ..., uM)ᵀ,  t̃ = d̃ θ*,  η̃ = M / N².

For M = D they are the paper's N·I and N·θ* up to a rotation, and lead to θ* from every θ0; for M > D, rows of
zeros are appended. In general their excess loss is Σ_{i>M} λi (σ² + (uiᵀδ)²) / 2. Since θ* = u1 in
dataset=linear_regression, and architectures draw with μ = 0, every M ≥ 1 reaches the bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataset_distillation.datasets.data import Split
from dataset_distillation.inner_optimizers import Step

if TYPE_CHECKING:
    from torch import Tensor


def pairs(d: Tensor, t: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return d̃ (M, D), t̃ (M, 1) and η̃ for d (N, D), t (N, 1) and M = `number`, in d's precision."""
    import torch

    rows = len(d)
    optimum = torch.linalg.lstsq(d, t).solution
    directions = torch.linalg.eigh(d.T @ d).eigenvectors.T.flip(0)[:number]  # the leading ones first
    distilled = torch.cat([rows * directions, d.new_zeros(number - len(directions), d.shape[1])])
    return distilled, distilled @ optimum, d.new_tensor(number / rows**2)


def steps(train: Split, number: int) -> list[Step]:
    """Return the only inner step of the best `number` pairs for `train`, as a list."""

    images, targets = train.batch()
    distilled, labels, rate = pairs(images.flatten(1).double(), targets.double(), number)
    return [Step(distilled.view(-1, *images.shape[1:]).float(), labels.float(), rate.float())]
