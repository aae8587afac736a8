"""What an outer step of the modern setting costs on a device, as ratios measured in one run.

    python benchmarks/gpu.py [--device cuda] [--width 128] [--images 100] [--inner-steps 200] [--window 60]
                             [--batch 5000] [--compile] [--repeats 5]

A meta-gradient of ConvNet-3 at CIFAR-10's shape by Adam, and a real batch: an outer step of
`cifar10_convnet_10` without its update, through a window at the end of the unroll and through all of it. Each
row is an engine in a precision: the median time with the smallest and the largest, how many times as fast as
the engine's first row, operations per second, their share of what the device does in a product of two large
matrices of that precision, measured in the same run, and the relative error of the meta-gradient beside the
first row's. Operations are those of convolutions and products, counted once per engine as torch runs them in
float32. The peak is that of torch's allocator (CUDA alone). The rows take turns, so that a slow moment slows
all of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dataset_distillation.architectures import Weights
from dataset_distillation.architectures.convnet import ConvNet
from dataset_distillation.distilled.data import Batches
from dataset_distillation.inner.step import InnerTraining
from dataset_distillation.inner_optimizers.adam import Adam
from dataset_distillation.unroll import Unroll
from dataset_distillation.unroll.recompute import Recompute
from dataset_distillation.unroll.truncated import Truncated

SHAPE, CLASSES = (3, 32, 32), 10
PRECISIONS = (torch.float32, torch.bfloat16)
#: The largest relative error in float32: of what rounding leaves of gradients Adam makes full steps.
ERROR = 0.05
PRODUCT = {"cuda": 8192, "cpu": 1024}  # rows of the matrices that show what a device can do


@dataclass(frozen=True)
class Size:
    """That of an outer step: see the options of this program."""

    width: int
    images: int
    inner_steps: int
    window: int
    batch: int


class Row(NamedTuple):
    """A way to compute the meta-gradient of `gradient`, a window's or that of the whole unroll."""

    gradient: str
    engine: Unroll
    dtype: torch.dtype


def rows(size: Size, compiled: bool) -> dict[str, Row]:
    """The engines of bounded memory, in both precisions; the first of each gradient is its reference."""
    window = Truncated(window=size.window, start=str(max(0, size.inner_steps - size.window)))
    engines: dict[str, Unroll] = {
        "truncated": window,
        "truncated, stored": replace(window, stored=True),
        "recompute": Recompute(),
        "recompute, offload": Recompute(offload=True),
    }
    if compiled:
        engines |= {f"{name}, compile": replace(engine, compile=True) for name, engine in engines.items()}
    return {
        f"{name}, {str(dtype).removeprefix('torch.')}": Row(name.partition(",")[0], engine, dtype)
        for name, engine in engines.items()
        for dtype in PRECISIONS
    }


class OuterStep:
    """Distilled images, real images and weights, all noise, on a device; and the programs of each row."""

    def __init__(self, size: Size, device: str) -> None:
        self.device = torch.device(device)
        generator = torch.Generator().manual_seed(0)
        self.network = ConvNet(width=size.width).build(SHAPE, CLASSES).to(self.device)
        self.weights = {name: p.detach().clone() for name, p in self.network.named_parameters()}

        def noise(number: int) -> Tensor:
            return torch.randn(number, *SHAPE, generator=generator).to(self.device)

        self.images = noise(size.images)[None].requires_grad_()
        self.labels = (torch.arange(size.images) % CLASSES)[None].to(self.device)
        self.rate = torch.full((1, 1), 0.001, device=self.device)
        self.real, self.real_labels = noise(size.batch), (torch.arange(size.batch) % CLASSES).to(self.device)
        self.steps = Batches(size.inner_steps).steps(self.images, self.labels, self.rate)

    def gradient(self, row: Row) -> Callable[[], Tensor]:
        """What computes the meta-gradient of the images; its programs serve all calls, as in a run."""
        by, outputs = row.engine.linearization(), row.engine.outputs(self._forward)
        loss = functional.cross_entropy
        inner = InnerTraining(self.network, self.weights, Adam(), loss, by)

        def run() -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=row.dtype == torch.bfloat16):
                final = row.engine.unroll(inner, self.steps)
                outer = loss(outputs(final, self.real), self.real_labels)
                [gradient] = torch.autograd.grad(outer, self.images)
            return gradient

        return run

    def _forward(self, weights: Weights, images: Tensor) -> Tensor:
        return functional_call(self.network, weights, (images,))

    def seconds(self, function: Callable[[], object]) -> float:
        """The time until the device has done what `function` asks it for."""
        self._wait()
        start = time.perf_counter()
        function()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak(self, function: Callable[[], object]) -> str:
        """The largest memory within `function`, in MB."""
        if self.device.type != "cuda":
            return ""
        torch.cuda.reset_peak_memory_stats()
        function()
        return f"{torch.cuda.max_memory_allocated() / 1e6:,.0f}"

    def product(self, dtype: torch.dtype) -> float:
        """Operations per second in a product of two large matrices: the best of five."""
        n = PRODUCT[self.device.type]
        matrix = torch.randn(n, n, device=self.device, dtype=dtype)
        return 2 * n**3 / min(self.seconds(lambda: matrix @ matrix) for _ in range(5))


class Operations(TorchDispatchMode):
    """Counts the operations of the convolutions and products that torch runs.

    torch's FlopCounterMode also asks which module an operation belongs to, by hooks that a gradient within a
    gradient does not allow.
    """

    total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def operations(function: Callable[[], object]) -> int:
    """The operations of `function`."""
    with Operations() as counted:
        function()
    return counted.total


def table(size: Size, device: str, compiled: bool, repeats: int) -> Table:
    step, asked = OuterStep(size, device), rows(size, compiled)
    functions = {name: step.gradient(row) for name, row in asked.items()}
    first = {row.gradient: name for name, row in reversed(asked.items())}
    exact = {gradient: functions[name]() for gradient, name in first.items()}
    counted = {gradient: operations(functions[name]) for gradient, name in first.items()}
    errors = {}
    for name, (gradient, _, dtype) in asked.items():  # which also compiles
        errors[name] = float((functions[name]() - exact[gradient]).norm() / exact[gradient].norm())
        assert errors[name] <= ERROR or dtype != torch.float32, f"{name}: an error of {errors[name]:.2f}"
    measured = [{name: step.seconds(run) for name, run in functions.items()} for _ in range(repeats)]
    most = {dtype: step.product(dtype) for dtype in PRECISIONS}
    columns = ("seconds", "first / this", "TFLOP/s", "of a product's", "error", "peak, MB")
    result = Table("", *columns, title=f"{torch.get_num_threads()} threads, {device}, {size}")
    for name, (gradient, _, dtype) in asked.items():
        times = [each[name] for each in measured]
        ratio = statistics.median(each[first[gradient]] / each[name] for each in measured)
        rate = counted[gradient] / (seconds := statistics.median(times))
        spread = f"{seconds:.3f} [{min(times):.3f}, {max(times):.3f}]"
        cells = (f"{ratio:.2f}", f"{rate / 1e12:.3f}", f"{rate / most[dtype]:.1%}", f"{errors[name]:.1e}")
        result.add_row(name, spread, *cells, step.peak(functions[name]))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=PRODUCT, default="cuda")
    parser.add_argument("--width", type=int, default=128, help="channels of ConvNet-3")
    parser.add_argument("--images", type=int, default=100, help="distilled images, all in each inner step")
    parser.add_argument("--inner-steps", type=int, default=200)
    parser.add_argument("--window", type=int, default=60, help="inner steps of the window")
    parser.add_argument("--batch", type=int, default=5000, help="real images")
    parser.add_argument("--compile", action="store_true", help="also the rows with torch.compile")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args(arguments)
    size = Size(asked.width, asked.images, asked.inner_steps, asked.window, asked.batch)
    Console(width=130).print(table(size, asked.device, asked.compile, asked.repeats))


if __name__ == "__main__":
    main()
