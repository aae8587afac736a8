"""Attention in an unroll: its fused kernels have no gradient of a gradient, so plain products compute it."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dataset_distillation.architectures import stateless
from dataset_distillation.architectures.torchvision import TorchvisionNetwork
from dataset_distillation.inner.step import InnerTraining, attention_by_math, vector_jacobian
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.inner_optimizers.momentum import Momentum
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.full import Full
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.traced import Traced
from support.cases import Case, assert_equal, by_hand


class Attentive(nn.Module):
    """One block of a transformer on the four pixels of an image, each of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.classify = nn.Linear(1, 8), nn.Linear(8, 3)
        self.block = nn.TransformerEncoderLayer(8, 2, 8, activation="gelu", batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.block(self.embed(images.flatten(1).unsqueeze(2))).mean(1))


class OnAttention(Case):
    def build(self) -> nn.Module:
        return stateless(Attentive())


@pytest.mark.parametrize("engine", [Full(), Recompute(), pytest.param(Traced(), marks=pytest.mark.slow)])
def test_the_meta_gradient_through_attention(engine: Unroll) -> None:
    """Against the update rule written out, with attention as plain products all the way."""
    case, optimizer = OnAttention(2, 2, 3), Momentum()
    gradient = case.meta_gradient(engine, optimizer)
    with attention_by_math():
        assert_equal(gradient, by_hand(optimizer, case), 1e-9)
    assert all(part.norm() > 0 for part in gradient)


def test_the_fused_kernel_alone_has_no_second_derivative() -> None:
    """If this fails, torch has one, and `attention_by_math` can go."""
    q = torch.randn(1, 2, 4, 4, requires_grad=True)
    output = functional.scaled_dot_product_attention(q, q, q).sum()
    [gradient] = torch.autograd.grad(output, q, create_graph=True)
    with pytest.raises(RuntimeError, match=r"derivative for .* is not implemented"):
        gradient.sum().backward()


def test_the_choice_of_kernels_is_restored() -> None:
    before = torch.backends.cuda.flash_sdp_enabled()
    with suppress(KeyError), attention_by_math():
        assert not torch.backends.cuda.flash_sdp_enabled()
        raise KeyError
    assert torch.backends.cuda.flash_sdp_enabled() == before


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("vit_b_32", 32), ("maxvit_t", 224)])
def test_torchvisions_transformers_have_a_vector_jacobian_product(name: str, size: int) -> None:
    architecture = TorchvisionNetwork(name=name)
    architecture.check((3, size, size))
    network = architecture.build((3, size, size), 3)
    generator = torch.Generator().manual_seed(0)
    weights = {n: 0.02 * torch.randn(p.shape, generator=generator) for n, p in network.named_parameters()}
    training = InnerTraining(network, weights, SGD(), functional.cross_entropy)
    images = torch.randn(2, 3, size, size, generator=generator, requires_grad=True)
    step = Step(images, torch.tensor([0, 1]), torch.tensor(0.1, requires_grad=True))
    point = training.start()
    *_, of_images, of_rate = vector_jacobian(training, point, step, 1, [torch.ones_like(p) for p in point])
    assert of_images.norm() > 0
    assert of_images.isfinite().all()
    assert of_rate.isfinite()
