"""Networks of every architecture, and several of them in one outer step."""

from __future__ import annotations

import torch
from torch import Tensor

from dataset_distillation.architectures.alexcifarnet import AlexCifarNet
from dataset_distillation.architectures.alexnet32 import AlexNet32
from dataset_distillation.architectures.convnet import ConvNet
from dataset_distillation.architectures.lenet import LeNet
from dataset_distillation.architectures.linear import Linear
from dataset_distillation.architectures.mlp import MLP
from dataset_distillation.architectures.resnet18 import ResNet18
from dataset_distillation.architectures.torchvision import TorchvisionNetwork
from dataset_distillation.architectures.vgg11 import VGG11
from dataset_distillation.datasets.data import Batch
from dataset_distillation.distilled.start import start
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.loss import OuterLoss
from dataset_distillation.pipeline.prepare import prepare

GREY, RGB = (1, 28, 28), (3, 32, 32)
# (network, shape of its images, parameters for 10 classes); the numbers are the paper's code's and
# Zhao et al.'s where they have the network, torchvision's for 10 classes, and sums by hand elsewhere.
NETWORKS = {
    "lenet-28": (LeNet(), GREY, 61_706),
    "lenet-32": (LeNet(), RGB, 62_006),
    "alexcifarnet": (AlexCifarNet(), RGB, 1_756_426),
    "convnet-28": (ConvNet(), GREY, 317_706),
    "convnet-32": (ConvNet(), RGB, 320_010),
    "convnet-group": (ConvNet(norm="group", width=8), RGB, 3 * 9 * 8 + 2 * 8 * 9 * 8 + 9 * 8 + 1290),
    "convnet-batch": (ConvNet(norm="batch", width=8), RGB, 3 * 9 * 8 + 2 * 8 * 9 * 8 + 9 * 8 + 1290),
    "convnet-none": (ConvNet(norm="none", depth=1, width=8), (1, 8, 8), 9 * 8 + 8 + 8 * 16 * 10 + 10),
    "convnet-max": (ConvNet(width=8, pooling="max"), RGB, 3 * 9 * 8 + 2 * 8 * 9 * 8 + 9 * 8 + 1290),
    "convnet-large": (ConvNet(width=2, depth=1, pooling="none"), (1, 4, 4), 9 * 2 + 6 + 32 * 10 + 10),
    "alexnet32": (AlexNet32(width=4), GREY, 104 + 606 + 440 + 438 + 330 + 970),
    "alexnet32-norm": (AlexNet32(width=8, norm="group"), RGB, 608 + 2412 + 1744 + 1740 + 1308 + 120 + 1930),
    "vgg11": (VGG11(width=4), GREY, 40 + 296 + 1168 + 2320 + 4640 + 3 * 9248 + 344 + 330),
    "resnet18-28": (ResNet18(width=4), GREY, 44 + 608 + 2128 + 8352 + 33088 + 330),
    "resnet18-32": (ResNet18(width=4, norm="batch"), RGB, 116 + 608 + 2128 + 8352 + 33088 + 330),
    "mlp": (MLP(), GREY, 784 * 128 + 128 * 128 + 2 * 128 + 1290),
    "linear": (Linear(), GREY, 7_850),
    "resnet18": (TorchvisionNetwork(name="resnet18", weights="own"), RGB, 11_689_512 - 1000 * 513 + 10 * 513),
}

#: Small, with a clip that binds for some of the networks.
OPTIONS = ("init.networks=3", "distilled.epochs=2", "outer.clip=0.05", "outer.batch_size=6")


def losses_and_gradients(experiment: Experiment, choice: str) -> tuple[Tensor, ...]:
    """Of two outer steps in float64, with the norm of each network's meta-gradient."""
    experiment.unroll.batch_networks = choice
    problem = prepare(experiment)
    problem.network.double()
    data = start(experiment.distilled, problem.data.train, experiment.seed).double()
    images, labels = problem.data.train.batch(torch.arange(experiment.outer.batch_size))
    loss = OuterLoss(problem, data, experiment.outer, experiment.unroll, networks=3)
    assert loss.together == (choice == "on")
    found = []
    for step in range(2):
        population = [
            {name: weight.double() for name, weight in weights.items()}
            for weights in problem.population("init", 3, step)
        ]
        losses = loss(population, step, Batch(images.double(), labels))
        found += [losses, *torch.autograd.grad(losses.mean(), list(data.parameters()))]
    return *found, torch.stack(loss.norms)
