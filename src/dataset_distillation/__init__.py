"""Dataset distillation: a few synthetic images that train a network nearly as well as the whole dataset.

    import dataset_distillation as dd

    problem = dd.Problem.of(images, labels, network)
    distilled = dd.distill(problem, dd.Distilled(steps=10, epochs=3), dd.Outer(steps=2000))
    dd.evaluate(problem, distilled, networks=20, baselines=["random_real"])
    distilled.save("digits.safetensors")

The command line (`distill --help`) does the same from configs and adds files, logs and reports.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

#: The module that defines each public name. A name is imported at its first use: importing torch takes
#: seconds, and `distill --help` need not wait for it. `__init__.pyi` has the types; a test compares the two.
_MODULES = {
    "Problem": "problem",
    "InMemory": "datasets.in_memory",
    "tensors": "datasets.in_memory",
    "Given": "architectures.given",
    "LeNet": "architectures.lenet",
    "ConvNet": "architectures.convnet",
    "MLP": "architectures.mlp",
    "Linear": "architectures.linear",
    "AlexNet": "architectures.alexnet",
    "AlexCifarNet": "architectures.alexcifarnet",
    "TorchvisionNetwork": "architectures.torchvision",
    "Random": "init.random",
    "Fixed": "init.fixed",
    "Pretrained": "init.pretrained",
    "FixedPretrained": "init.fixed_pretrained",
    "Checkpoint": "init.checkpoint",
    "Pretraining": "networks.options",
    "Standard": "objectives.standard",
    "Adaptation": "objectives.adaptation",
    "Attack": "objectives.attack",
    "Regression": "objectives.regression",
    "Full": "unroll.full",
    "Recompute": "unroll.recompute",
    "Truncated": "unroll.truncated",
    "SGD": "inner_optimizers.sgd",
    "Momentum": "inner_optimizers.momentum",
    "Adam": "inner_optimizers.adam",
    "Distilled": "distilled.options",
    "Outer": "outer.options",
    "Trainer": "outer.options",
    "Evaluation": "evaluation.options",
    "Training": "evaluation.options",
    "distill": "outer.distill",
    "evaluate": "evaluation.judge",
    "DistilledSet": "distilled.artifact",
    "load_distilled": "distilled.artifact",
    "ConfigError": "errors",
    "UserError": "errors",
}

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "Adaptation",
    "AlexCifarNet",
    "AlexNet",
    "Attack",
    "Checkpoint",
    "ConfigError",
    "ConvNet",
    "Distilled",
    "DistilledSet",
    "Evaluation",
    "Fixed",
    "FixedPretrained",
    "Full",
    "Given",
    "InMemory",
    "LeNet",
    "Linear",
    "Momentum",
    "Outer",
    "Pretrained",
    "Pretraining",
    "Problem",
    "Random",
    "Recompute",
    "Regression",
    "Standard",
    "TorchvisionNetwork",
    "Trainer",
    "Training",
    "Truncated",
    "UserError",
    "distill",
    "evaluate",
    "load_distilled",
    "tensors",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
