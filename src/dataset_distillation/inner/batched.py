"""The networks of one outer step as one program: their weights are stacked along a first dimension."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils.flop_counter import FlopCounterMode

from dataset_distillation.architectures import Weights
from dataset_distillation.errors import refuse
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.networks.weights import stack

# On a CPU, batching saves the overhead of each operation, but its convolutions are slower. Measured for the
# gradient of a gradient on one thread, as the ratio (8 networks one after the other) / (8 batched): LeNet 1.5
# at 10 and 20 images (8 and 17 million operations), 1.1 at 50 (42), 1.0 at 100; MLP 1.6 at 10 (2), 1.4 at 100
# (24). With 4 networks: ConvNet-3 of width 32 1.5 at 1 image (8), 1.0 at 10 (77), 0.6 at 50; of width 128 0.8
# at 10.
CPU_OPERATIONS = 20e6


class BatchedTraining(InnerTraining):
    """The inner training of several networks: the first dimension of weights, images, labels and rates."""

    def value(self, weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
        """The sum over the networks; its gradient stacks the gradients of the single networks."""
        # Dropout is off (its probability is 0), but without this option vmap would refuse the call.
        return vmap(super().value, randomness="different")(weights, images, labels).sum()

    def rate(self, learning_rate: Tensor, weight: Tensor) -> Tensor:
        return learning_rate.view(-1, *[1] * (weight.ndim - 1))


def outputs(network: nn.Module, weights: Weights, images: Tensor) -> Tensor:
    """The outputs of each of the stacked networks on the same images: (networks, images, classes)."""
    batched = vmap(lambda own: functional_call(network, own, (images,)), randomness="different")
    return batched(weights)


@torch.no_grad()
def pays(network: nn.Module, images: Tensor) -> bool:
    """Whether batching is faster for images like these: on a CPU, only if a network needs few operations."""
    if images.device.type != "cpu":
        return True
    with FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops() <= CPU_OPERATIONS


def check(network: nn.Module, shape: tuple[int, ...]) -> None:
    """Raise ConfigError if the inner training of `network` on images of `shape` cannot be batched."""
    weights = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    like = next(iter(weights.values()))
    images = torch.linspace(-1, 1, 2).view(2, 1, 1, 1).to(like).expand(2, *shape).clone().requires_grad_()
    labels = torch.tensor([0, 1], device=like.device)
    step = Step(*(tensor.expand(2, *tensor.shape) for tensor in (images, labels, like.new_ones(()))))
    training = BatchedTraining(
        network, stack([weights] * 2), SGD(), lambda outputs, _: outputs.square().sum()
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # vmap warns if it would run an operation network by network
            after = training.step(training.start(), step, t=1)
            torch.autograd.grad(after, images, [torch.ones_like(weight) for weight in after])
    except Exception as error:
        reason = str(error).splitlines()[0]
        remedy = "use unroll.batch_networks=off, which runs one network after the other"
        raise refuse(
            "unroll.batch_networks", "on", f"this network cannot be batched ({reason})", remedy
        ) from error
