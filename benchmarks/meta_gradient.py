"""The cost of a meta-gradient, as ratios measured in one run.

    python benchmarks/meta_gradient.py [--threads 1] [--repeats 5] [--clock cpu|wall] [--only time|memory]

Time: one meta-gradient (10 steps × 3 epochs of 10 images, a real batch of 256: an outer step without its
update) on LeNet at MNIST's shape, ConvNet-3 of width 32 and AlexCifarNet at CIFAR-10's, per network. The
rows alternate within a repeat, so that a slow moment of the machine slows all of them. Two ratios are
printed, each the median of the repeats' ratios with the smallest and the largest: how many times as fast as
the authors' scheme, and how many times the same number of plain steps of SGD. The clock `cpu` counts
processor seconds, without the time that other programs use; it is meant for one thread. Processor seconds
and page faults are per meta-gradient. Each row has a process of its own, as in a run. Ours run with
`keep_memory`, as a run of ours does; the authors' scheme runs without it, as their program does, and once
more with it.

Memory: the peak above the memory in use before, in a separate process that has made one inner step: that of
the tensors, as torch's allocator counts them; that of the whole process, whose malloc returns large blocks
to the system; and that of a process that keeps them, as a run of ours does (Linux; the distilled data do not
grow).
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from dataset_distillation.architectures import Architecture, Weights
from dataset_distillation.architectures.alexcifarnet import AlexCifarNet
from dataset_distillation.architectures.convnet import ConvNet
from dataset_distillation.architectures.lenet import LeNet
from dataset_distillation.distilled.data import sequence
from dataset_distillation.inner.batched import BatchedTraining
from dataset_distillation.inner.step import InnerTraining, Linearization
from dataset_distillation.inner_optimizers.sgd import SGD
from dataset_distillation.networks import training
from dataset_distillation.networks.weights import load_weights, stack, unstack
from dataset_distillation.run.processes import keep_memory
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.full import Full
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.traced import Traced

if TYPE_CHECKING:
    from dataset_distillation.unroll import Outputs

NETWORKS: dict[str, tuple[Architecture, tuple[int, int, int]]] = {
    "LeNet": (LeNet(), (1, 28, 28)),
    "ConvNet-3, width 32": (ConvNet(width=32), (3, 32, 32)),
    "AlexCifarNet": (AlexCifarNet(), (3, 32, 32)),
}
ENGINES: dict[str, Unroll] = {
    "full": Full(),
    "recompute": Recompute(),
    "recompute, compiled": Recompute(compile=True),
    "traced": Traced(),
    "traced, compiled": Traced(compile=True),
}
BATCHED = ("full", "recompute", "traced", "traced, compiled")
MOST = 64  # networks at once
LENGTHS = (10, 30, 100, 300)
AUTHORS, PLAIN = "the authors' scheme", "plain steps"
KEPT = f"{AUTHORS}, memory kept"
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}
LIMIT = 4e9  # bytes; the table shows how many steps fit in this memory
# glibc keeps freed blocks below a threshold that it raises over time, so that the peak of a process depends
# on the holes that earlier work has left. With a fixed threshold, large blocks go back to the system.
RETURNING = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}


class Problem:
    """Distilled images, real images and weights, all noise: time and memory do not depend on their values."""

    def __init__(self, name: str, steps: int, epochs: int, dtype: torch.dtype = torch.float32) -> None:
        architecture, shape = NETWORKS[name]
        generator = torch.Generator().manual_seed(0)
        self.network = architecture.build(shape, 10).to(dtype)
        self.weights = {n: p.detach().clone() for n, p in self.network.named_parameters()}
        self.images = torch.randn(steps, 10, *shape, generator=generator).to(dtype).requires_grad_()
        self.labels = torch.arange(10).repeat(steps, 1)
        self.rates = torch.full((epochs, steps), 0.01, dtype=dtype).requires_grad_()
        self.real = torch.randn(256, *shape, generator=generator).to(dtype)
        self.real_labels = torch.arange(256) % 10
        self.programs: dict[str, Linearization | None] = {}
        self.real_programs: dict[str, Outputs] = {}

    def plain(self) -> None:
        load_weights(self.network, self.weights)
        training.train(self.network, sequence(self.images, self.labels, self.rates), SGD())

    def loss(self, weights: Weights, outputs: Outputs) -> Tensor:
        """The loss of the real batch, in chunks as in a run."""
        results = torch.cat([outputs(weights, chunk) for chunk in self.real.split(training.CPU_CHUNK)])
        return functional.cross_entropy(results, self.real_labels)

    def forward(self, weights: Weights, images: Tensor) -> Tensor:
        return functional_call(self.network, weights, (images,))

    def of(self, name: str) -> tuple[Linearization | None, Outputs]:
        """The programs of an engine, which serve all outer steps, as in a run."""
        if name not in self.programs:
            self.programs[name] = ENGINES[name].linearization()
            self.real_programs[name] = ENGINES[name].outputs(self.forward)
        return self.programs[name], self.real_programs[name]

    def one(self, engine: str) -> tuple[Tensor, ...]:
        by, outputs = self.of(engine)
        inner = InnerTraining(self.network, self.weights, SGD(), functional.cross_entropy, by)
        final = ENGINES[engine].unroll(inner, list(sequence(self.images, self.labels, self.rates)))
        return torch.autograd.grad(self.loss(final, outputs), (self.images, self.rates))

    def authors_scheme(self) -> tuple[Tensor, ...]:
        """The authors' algorithm, written from its description.

        It has one flat vector of weights, keeps the graphs of all steps, each cut from the next, and computes
        one Hessian-vector product per step in the backward pass.
        """
        sizes = {name: (weight.shape, weight.numel()) for name, weight in self.weights.items()}

        def split(flat: Tensor) -> dict[str, Tensor]:
            parts = flat.split([size for _, size in sizes.values()])
            return {n: part.view(shape) for (n, (shape, _)), part in zip(sizes.items(), parts, strict=True)}

        flat, graphs = torch.cat([weight.flatten() for weight in self.weights.values()]), []
        for step in sequence(self.images, self.labels, self.rates):
            flat = flat.detach().requires_grad_()
            outputs = functional_call(self.network, split(flat), (step.images,))
            loss = functional.cross_entropy(outputs, step.labels)
            [change] = torch.autograd.grad(loss, flat, grad_outputs=step.learning_rate, create_graph=True)
            graphs.append((change, flat, step))
            flat = flat - change
        flat = flat.detach().requires_grad_()
        [adjoint] = torch.autograd.grad(self.loss(split(flat), self.forward), flat)
        images, rates = torch.zeros_like(self.images), []
        for number, (change, at, step) in reversed(list(enumerate(graphs))):
            inputs = (at, step.images, step.learning_rate)
            product, of_images, of_rate = torch.autograd.grad(change, inputs, grad_outputs=-adjoint)
            adjoint = adjoint + product
            images[number % len(images)] += of_images
            rates.append(of_rate)
        return images, torch.stack(rates[::-1]).view_as(self.rates)

    def batched(self, engine: str, networks: int) -> tuple[Tensor, ...]:
        """Run inner steps as one program, and the real batch network by network, as `auto` does."""
        by, outputs = self.of(engine)
        images, labels, rates = (t.expand(networks, *t.shape) for t in (self.images, self.labels, self.rates))
        steps = list(sequence(images.movedim(0, 1), labels.movedim(0, 1), rates.movedim(0, -1)))
        stacked = stack([self.weights] * networks)
        inner = BatchedTraining(self.network, stacked, SGD(), functional.cross_entropy, by)
        finals = unstack(ENGINES[engine].unroll(inner, steps))
        losses = torch.stack([self.loss(final, outputs) for final in finals])
        return torch.autograd.grad(losses.mean(), (self.images, self.rates))


def gradients(
    problem: Problem, engines: Sequence[str], together: Sequence[int]
) -> dict[str, tuple[Callable[[], object], int]]:
    """The methods for the meta-gradient of `problem`; how many networks each computes at once."""
    methods: dict[str, tuple[Callable[[], object], int]] = {KEPT: (problem.authors_scheme, 1)}
    for networks in together:
        for engine in engines:
            if networks == 1:
                methods[engine] = (partial(problem.one, engine), 1)
            elif engine in BATCHED:
                label = f"{engine}, {networks} networks batched"
                methods[label] = (partial(problem.batched, engine, networks), networks)
    return methods


def time_table(name: str, clock: str, repeats: int, engines: Sequence[str], together: Sequence[int]) -> Table:
    # In double precision: in single, rounding changes ReLUs, and the error may grow to a percent in 30 steps.
    exact = [engine for engine in engines if not ENGINES[engine].compile]
    problem = Problem(name, 3, 2, torch.float64)
    first, *others = (method() for method, _ in gradients(problem, exact, together).values())
    assert all(_agree(first, other) for other in others), "the rows must give the same meta-gradient"
    ours = {row: share for row, (_, share) in gradients(problem, engines, together).items()}
    shares = {PLAIN: 1, AUTHORS: 1, **ours}
    with ExitStack() as processes:
        methods = {row: processes.enter_context(elsewhere(name, row, clock)) for row in shares}
        for method in methods.values():  # warm up; this also compiles
            method()
        repeated = [{row: (method(), shares[row]) for row, method in methods.items()} for _ in range(repeats)]
    measured = {row: [r[row][0].time / r[row][1] for r in repeated] for row in methods}
    used = {row: [r[row][0].processor / r[row][1] for r in repeated] for row in methods}
    faults = {row: [r[row][0].faults // r[row][1] for r in repeated] for row in methods}
    how = f"{torch.get_num_threads()} threads, {clock} clock, median of {repeats}, per network"
    columns = ("seconds", "authors / this", "this / plain", "of the processor", "page faults")
    table = Table("", *columns, title=f"{name}, 30 steps; {how}")
    for row, values in measured.items():
        faster = [a / b for a, b in zip(measured[AUTHORS], values, strict=True)]
        slower = [a / b for a, b in zip(values, measured[PLAIN], strict=True)]
        spread = f"{statistics.median(faster):.2f} [{min(faster):.2f}, {max(faster):.2f}]"
        cost = f"{statistics.median(slower):.2f} [{min(slower):.2f}, {max(slower):.2f}]"
        seconds, processor = statistics.median(values), statistics.median(used[row])
        last = f"{processor:.3f}", f"{round(statistics.median(faults[row])):,}"
        table.add_row(row, f"{seconds:.3f}", "" if row == PLAIN else spread, cost, *last)
    return table


class Spent(NamedTuple):
    """Seconds by the clock of the table, seconds of the processor, and page faults."""

    time: float
    processor: float
    faults: int


def spent(function: Callable[[], object], clock: str) -> Spent:
    now, before = CLOCKS[clock], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    start, processor = now(), time.process_time()
    function()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return Spent(now() - start, time.process_time() - processor, faults)


@contextmanager
def elsewhere(name: str, row: str, clock: str) -> Iterator[Callable[[], Spent]]:
    """Yield what runs a row in a process of its own, as in a run: no other row has used its memory before."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    asked = (name, row, clock, torch.get_num_threads(), there)
    process = processes.Process(target=serve, args=asked, daemon=True)
    process.start()

    def run() -> Spent:
        here.send(True)
        answer: Spent = here.recv()
        return answer

    yield run
    process.terminate()
    process.join()


def serve(name: str, row: str, clock: str, threads: int, asked: Connection) -> None:
    """Run the row whenever asked to."""
    torch.set_num_threads(threads)
    if row != AUTHORS:
        keep_memory()
    problem = Problem(name, steps=10, epochs=3)
    if row in (PLAIN, AUTHORS):
        function: Callable[[], object] = problem.plain if row == PLAIN else problem.authors_scheme
    else:
        function, _ = gradients(problem, list(ENGINES), range(1, MOST + 1))[row]
    while asked.recv():
        asked.send(spent(function, clock))


def _agree(first: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all((a - b).norm() <= 1e-9 * b.norm() for a, b in zip(first, other, strict=True))


def peak(name: str, engine: str, steps: int, keep: bool) -> None:
    """Print the bytes of a meta-gradient of `steps` steps; it must run in its own process."""
    torch.set_num_threads(1)
    if keep:
        keep_memory()
    first = Problem(name, 1, 1)
    first.one(engine)  # allocates everything that is allocated only once
    problem = Problem(name, 10, steps // 10)  # the distilled data keep their size
    problem.programs, problem.real_programs = first.programs, first.real_programs
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident("VmRSS")
    problem.one(engine)
    process = _resident("VmHWM") - before
    print(*([] if keep else [allocated(lambda: problem.one(engine))]), process)


def _resident(which: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at its peak."""
    line = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert line, "this benchmark needs Linux"
    return int(line[1]) * 1024


def allocated(function: Callable[[], object]) -> int:
    """The largest number of bytes that torch's allocator has given out at one time within `function`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        function()
    events = profiled.profiler.kineto_results.events()
    changes = sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns())
    return max(itertools.accumulate(e.nbytes() for e in changes))


def memory_table(name: str, engines: Sequence[str]) -> Table:
    table = Table("peak, MB", *map(str, LENGTHS), "fits 4 GB up to", title=f"{name}, epochs of 10 steps")
    for engine in engines:
        peaks_of_lengths = []
        for steps in LENGTHS:
            printed = []
            for how, environment in {"returned": RETURNING, "kept": dict(os.environ)}.items():
                command = [sys.executable, str(Path(__file__)), "--peak", name, engine, str(steps), how]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                printed += [int(number) for number in done.stdout.split()]
            peaks_of_lengths.append(printed)
        rows = ("tensors", "process", "process, memory kept")
        for row, peaks in zip(rows, zip(*peaks_of_lengths, strict=True), strict=True):
            each = (peaks[-1] - peaks[0]) / (LENGTHS[-1] - LENGTHS[0])
            fits = int(LENGTHS[-1] + (LIMIT - peaks[-1]) / each)
            table.add_row(f"{engine}, {row}", *(f"{size / 1e6:.1f}" for size in peaks), f"{fits:,} steps")
    size = 4 * sum(p.numel() for p in NETWORKS[name][0].build(NETWORKS[name][1], 10).parameters())
    table.add_row("the weights of all steps", *(f"{n * size / 1e6:.1f}" for n in LENGTHS), "")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--network", choices=NETWORKS, help="only this network")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--networks", nargs="+", type=int, default=[1, 4, 8], help="how many at once")
    parser.add_argument("--only", choices=["time", "memory"])
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        name, engine, steps, how = arguments.peak
        peak(name, engine, int(steps), how == "kept")
        return
    torch.set_num_threads(arguments.threads)
    console = Console(width=120)
    for name in [arguments.network] if arguments.network else NETWORKS:
        if arguments.only != "memory":
            asked = (arguments.clock, arguments.repeats, arguments.engines, arguments.networks)
            console.print(time_table(name, *asked))
        if arguments.only != "time" and name != "AlexCifarNet":  # its 300 steps may need 9 GB
            console.print(memory_table(name, arguments.engines))


if __name__ == "__main__":
    main()
