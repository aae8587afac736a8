"""The cost of judging distilled data by held-out networks, as a ratio measured in one run.

    python benchmarks/evaluation.py [--networks 200] [--threads 1] [--clock cpu|wall]

Ours: LeNets are trained in 30 steps on 10 images each and tested on 10,000 images, with metrics and a
confusion matrix. Bare: the same number of forward and backward passes of the steps, and forward passes of
the test images in chunks of the same size, and nothing else: no step is taken, nothing is measured, and no
image is converted. The two alternate, network by network, so that a slow moment of the machine slows both.
The clock `cpu` counts processor seconds, without the time that other programs use; it is meant for one
thread.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch.nn import functional

from dataset_distillation.architectures.lenet import LeNet
from dataset_distillation.datasets.data import Data, Specification, TensorSplit
from dataset_distillation.distilled.data import sequence
from dataset_distillation.evaluation.held_out import held_out
from dataset_distillation.init.random import Random
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.networks import training
from dataset_distillation.objectives.standard import Standard
from dataset_distillation.problem import Problem

SHAPE, CLASSES, STEPS, EPOCHS, TEST = (1, 28, 28), 10, 10, 3, 10_000
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}


def noise() -> Problem:
    """Data with MNIST's shapes; the time does not depend on the pixels."""
    specification = Specification("noise", SHAPE, tuple(map(str, range(CLASSES))), (0.1307,), (0.3081,))
    pixels = torch.randint(256, (TEST, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = TensorSplit(torch.arange(TEST) % CLASSES, specification, pixels)
    data, architecture = Data(split, split, split, checksum=""), LeNet()
    network = architecture.build(SHAPE, CLASSES)
    return Problem(data, network, architecture, Random(), Standard(), SGD(), seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    problem, now = noise(), CLOCKS[arguments.clock]
    images = torch.randn(STEPS, CLASSES, *SHAPE, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(CLASSES).repeat(STEPS, 1)
    steps = list(sequence(images, labels, torch.full((EPOCHS, STEPS), 0.01)))
    chunks = problem.data.test.batch().images.tensor_split(-(-TEST // training.CHUNK))

    def bare() -> None:
        for step in steps:
            problem.network.zero_grad()
            functional.cross_entropy(problem.network(step.images), step.labels).backward()
        with torch.no_grad():
            for chunk in chunks:
                problem.network(chunk)

    def ours(j: int) -> None:
        held_out(problem, problem.data.test, [networks[j]], [steps])

    networks = problem.population("held-out", arguments.networks)
    bare(), ours(0)  # warm up
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for j in range(arguments.networks):
        for name, function in {"bare": bare, "ours": lambda j=j: ours(j)}.items():
            start = now()
            function()
            seconds[name].append(now() - start)
    total = {name: sum(spent) for name, spent in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["bare"], strict=True)]
    print(f"{arguments.networks} LeNets, {len(steps)} steps of {CLASSES} images, {TEST:,} test images each")
    print(f"{arguments.threads} threads, {arguments.clock} clock")
    print(f"bare passes {total['bare']:.1f} s, held-out evaluation {total['ours']:.1f} s:", end=" ")
    print(f"ratio {total['ours'] / total['bare']:.2f}, median over networks {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
