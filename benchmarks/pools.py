"""How much faster compiled programs train a network of a pool, as a ratio measured in one run.

    python -m benchmarks.pools [--networks 7]

A LeNet takes one epoch of images of MNIST's shape on one thread: by torch.optim, and by the programs of
`init.pretraining.compile=true`. The two alternate, network by network, in processor seconds. The compilation,
which each process does once, is told apart.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from benchmarks.evaluation import noise
from dataset_distillation.inner.traced import TracedSteps
from dataset_distillation.pools.options import Pretraining
from dataset_distillation.pools.pretraining import start_of, trained


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problem, recipe, programs = noise(), Pretraining(), TracedSteps(compiled=True)

    def seconds(name: str, by: TracedSteps | None) -> float:
        data, began = problem.data, time.process_time()
        start = start_of(problem.architecture, problem.network, data.specification, recipe, [name])
        trained(problem.network, start, data, recipe, [name], by)
        return time.process_time() - began

    first = seconds("compiled", programs)
    names = [f"init {j}" for j in range(arguments.networks)]
    pairs = [(seconds(name, None), seconds(name, programs)) for name in names]
    plain, compiled = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(by_programs / by_torch for by_torch, by_programs in pairs)
    print(f"a LeNet, {len(problem.data.train)} images: torch.optim {plain:.2f} s, programs {compiled:.2f} s")
    print(
        f"programs / torch.optim: {statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]; "
        f"compilation: {first - compiled:.0f} s"
    )


if __name__ == "__main__":
    main()
