from dataset_distillation.architectures.alexcifarnet import AlexCifarNet as AlexCifarNet
from dataset_distillation.architectures.alexnet import AlexNet as AlexNet
from dataset_distillation.architectures.alexnet32 import AlexNet32 as AlexNet32
from dataset_distillation.architectures.convnet import ConvNet as ConvNet
from dataset_distillation.architectures.given import Given as Given
from dataset_distillation.architectures.lenet import LeNet as LeNet
from dataset_distillation.architectures.linear import Linear as Linear
from dataset_distillation.architectures.mlp import MLP as MLP
from dataset_distillation.architectures.resnet18 import ResNet18 as ResNet18
from dataset_distillation.architectures.torchvision import TorchvisionNetwork as TorchvisionNetwork
from dataset_distillation.architectures.vgg11 import VGG11 as VGG11
from dataset_distillation.augmentation.dsa import DSA as DSA
from dataset_distillation.augmentation.flip_rotate import FlipRotate as FlipRotate
from dataset_distillation.augmentation.none import NoAugmentation as NoAugmentation
from dataset_distillation.augmentation.shift_rotate import ShiftRotate as ShiftRotate
from dataset_distillation.datasets.in_memory import InMemory as InMemory
from dataset_distillation.datasets.in_memory import tensors as tensors
from dataset_distillation.distilled.artifact import DistilledSet as DistilledSet
from dataset_distillation.distilled.artifact import load_distilled as load_distilled
from dataset_distillation.distilled.options import Distilled as Distilled
from dataset_distillation.errors import ConfigError as ConfigError
from dataset_distillation.errors import UserError as UserError
from dataset_distillation.evaluation.judge import evaluate as evaluate
from dataset_distillation.evaluation.options import Evaluation as Evaluation
from dataset_distillation.evaluation.options import Training as Training
from dataset_distillation.init.checkpoint import Checkpoint as Checkpoint
from dataset_distillation.init.fixed import Fixed as Fixed
from dataset_distillation.init.fixed_pretrained import FixedPretrained as FixedPretrained
from dataset_distillation.init.pretrained import Pretrained as Pretrained
from dataset_distillation.init.random import Random as Random
from dataset_distillation.inner_optimizers.adam import Adam as Adam
from dataset_distillation.inner_optimizers.momentum import Momentum as Momentum
from dataset_distillation.inner_optimizers.sgd import SGD as SGD
from dataset_distillation.objectives.adaptation import Adaptation as Adaptation
from dataset_distillation.objectives.attack import Attack as Attack
from dataset_distillation.objectives.regression import Regression as Regression
from dataset_distillation.objectives.standard import Standard as Standard
from dataset_distillation.outer.distill import distill as distill
from dataset_distillation.outer.options import Outer as Outer
from dataset_distillation.outer.options import Trainer as Trainer
from dataset_distillation.pools.options import Pretraining as Pretraining
from dataset_distillation.problem import Problem as Problem
from dataset_distillation.run.processes import keep_memory as keep_memory
from dataset_distillation.unroll.auto import Auto as Auto
from dataset_distillation.unroll.full import Full as Full
from dataset_distillation.unroll.recompute import Recompute as Recompute
from dataset_distillation.unroll.traced import Traced as Traced
from dataset_distillation.unroll.truncated import Truncated as Truncated

__version__: str
__all__ = [
    "DSA",
    "MLP",
    "SGD",
    "VGG11",
    "Adam",
    "Adaptation",
    "AlexCifarNet",
    "AlexNet",
    "AlexNet32",
    "Attack",
    "Auto",
    "Checkpoint",
    "ConfigError",
    "ConvNet",
    "Distilled",
    "DistilledSet",
    "Evaluation",
    "Fixed",
    "FixedPretrained",
    "FlipRotate",
    "Full",
    "Given",
    "InMemory",
    "LeNet",
    "Linear",
    "Momentum",
    "NoAugmentation",
    "Outer",
    "Pretrained",
    "Pretraining",
    "Problem",
    "Random",
    "Recompute",
    "Regression",
    "ResNet18",
    "ShiftRotate",
    "Standard",
    "TorchvisionNetwork",
    "Traced",
    "Trainer",
    "Training",
    "Truncated",
    "UserError",
    "distill",
    "evaluate",
    "keep_memory",
    "load_distilled",
    "tensors",
]
