"""Dataset distillation: a few synthetic images that train a network in a few gradient steps.

    import dataset_distillation as dd

    problem = dd.Problem.of(images, labels, network)
    distilled = dd.distill(problem, dd.Distilled(steps=10, epochs=3), dd.Outer(steps=2000))
    dd.evaluate(problem, distilled, networks=20, baselines=["random_real"])
    distilled.save("digits.safetensors")

The command line (`distill --help`) does the same from configs and adds files, logs and reports.
"""

from __future__ import annotations

import importlib

__version__ = "0.2.0"

#: The module that defines each public name. A name is imported at its first use: importing torch takes
#: seconds, and `distill --help` need not wait for it. `__init__.pyi` has the types; a test compares the two.
_NAMES = {
    "problem": "Problem",
    "datasets.in_memory": "InMemory tensors",
    "architectures.given": "Given",
    "architectures.lenet": "LeNet",
    "architectures.convnet": "ConvNet",
    "architectures.alexnet32": "AlexNet32",
    "architectures.vgg11": "VGG11",
    "architectures.resnet18": "ResNet18",
    "architectures.mlp": "MLP",
    "architectures.linear": "Linear",
    "architectures.alexnet": "AlexNet",
    "architectures.alexcifarnet": "AlexCifarNet",
    "architectures.torchvision": "TorchvisionNetwork",
    "init.random": "Random",
    "init.fixed": "Fixed",
    "init.pretrained": "Pretrained",
    "init.fixed_pretrained": "FixedPretrained",
    "init.checkpoint": "Checkpoint",
    "pools.options": "Pretraining",
    "objectives.standard": "Standard",
    "objectives.adaptation": "Adaptation",
    "objectives.attack": "Attack",
    "objectives.regression": "Regression",
    "unroll.auto": "Auto",
    "unroll.full": "Full",
    "unroll.recompute": "Recompute",
    "unroll.traced": "Traced",
    "unroll.truncated": "Truncated",
    "inner_optimizers.sgd": "SGD",
    "inner_optimizers.momentum": "Momentum",
    "inner_optimizers.adam": "Adam",
    "augmentation.dsa": "DSA",
    "augmentation.flip_rotate": "FlipRotate",
    "augmentation.none": "NoAugmentation",
    "augmentation.shift_rotate": "ShiftRotate",
    "distilled.options": "Distilled",
    "outer.options": "Outer Trainer",
    "evaluation.options": "Evaluation Training",
    "outer.distill": "distill",
    "evaluation.judge": "evaluate",
    "distilled.artifact": "DistilledSet load_distilled",
    "run.processes": "keep_memory",
    "errors": "ConfigError UserError",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:  # `typing` would take longer to import than all of this
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
