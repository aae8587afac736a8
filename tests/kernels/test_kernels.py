"""The C++ kernels against torch's operations: values, gradients, gradients of gradients, batches."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from dataset_distillation import kernels
from dataset_distillation.kernels import avg_pool2d, build, conv2d, max_pool2d
from dataset_distillation.kernels.build import library

compiled = pytest.mark.skipif(not kernels.available(), reason="needs a C++ compiler")
GENERATOR = torch.Generator()


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=dtype)


@pytest.fixture(autouse=True)
def _seed() -> None:
    GENERATOR.manual_seed(0)


def program(function: Callable[..., Tensor], *inputs: Tensor) -> str:
    """The operations that `function` calls."""
    return make_fx(function)(*inputs).code


def gradients(y: Tensor, *inputs: Tensor) -> list[Tensor]:
    """First and second derivatives of a function of `y`."""
    first = torch.autograd.grad(y.pow(2).sum(), inputs, create_graph=True)
    return [*first, *torch.autograd.grad(sum((g.pow(2).sum() for g in first), y.new_zeros(())), inputs)]


# images, channels, outputs, height, width, kernel height and width, padding
SHAPES = [
    (1, 1, 1, 5, 5, 1, 1, (0, 0)),
    (3, 1, 6, 28, 28, 5, 5, (2, 2)),
    (2, 6, 16, 14, 14, 5, 5, (0, 0)),
    (2, 3, 13, 9, 17, 3, 3, (1, 1)),
    (2, 15, 2, 7, 40, 2, 7, (1, 3)),
    (1, 4, 33, 6, 6, 6, 4, (5, 0)),
]


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_convolution(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    images, channels, outputs, height, width, *kernel, padding = shape
    x = normal(images, channels, height, width, dtype=dtype).requires_grad_()
    w = normal(outputs, channels, *kernel, dtype=dtype).requires_grad_()
    bias = normal(outputs, dtype=dtype).requires_grad_()
    ours, theirs = (f(x, w, bias, padding=padding) for f in (conv2d, torch.conv2d))
    assert "distill.convolution" in program(lambda x, w: conv2d(x, w, padding=padding), x, w)
    error = {"rtol": 1e-4, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(ours, theirs, **error)
    for a, b in zip(gradients(ours, x, w, bias), gradients(theirs, x, w, bias), strict=True):
        assert (a - b).norm() <= error["rtol"] * b.norm()


@compiled
@pytest.mark.parametrize("operation", ["convolution", "image_gradient", "weight_gradient"])
@pytest.mark.parametrize("networks", [(), (2,)], ids=["one", "two"])
def test_the_derivatives_are_those_of_finite_differences(operation: str, networks: tuple[int, ...]) -> None:
    x, w, y = normal(*networks, 2, 2, 4, 5), normal(*networks, 3, 2, 3, 2), normal(*networks, 2, 3, 4, 6)
    first, second = {"convolution": (x, w), "image_gradient": (y, w), "weight_gradient": (x, y)}[operation]

    def function(a: Tensor, b: Tensor) -> Tensor:
        return getattr(torch.ops.distill, operation)(a, b, 1, 1)  # type: ignore[no-any-return]

    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@compiled
@pytest.mark.parametrize("shared", [False, True])
def test_networks_share_a_program(shared: bool) -> None:
    """Batched by vmap, with images of their own or in common, the networks give what each gives alone."""
    x = (normal(3, 4, 8, 8) if shared else normal(2, 3, 4, 8, 8)).requires_grad_()
    w = normal(2, 5, 4, 3, 3).requires_grad_()

    def layer(w: Tensor, x: Tensor) -> Tensor:
        return max_pool2d(conv2d(x, w, padding=1), 2)

    together = vmap(layer, in_dims=(0, None if shared else 0))(w, x)
    alone = torch.stack([layer(w[k], x if shared else x[k]) for k in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(together, w, x), gradients(alone, w, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("window", [(2, 2, 0), (2, 1, 0), (3, 2, 1), (3, 3, 0), (5, 1, 2)], ids=str)
@pytest.mark.parametrize("size", [(6, 6), (9, 31), (28, 28), (10, 16)], ids=str)
def test_max_pooling(size: tuple[int, int], window: tuple[int, int, int], dtype: torch.dtype) -> None:
    """To the bit, also where values are equal or not numbers."""
    x = normal(3, 2, *size, dtype=dtype).round()  # many equal values
    x[0, 0, 2, 3], x[1, 1, 4, 4] = torch.nan, torch.inf
    x.requires_grad_()
    ours, theirs = (f(x, *window) for f in (max_pool2d, functional.max_pool2d))
    assert torch.equal(ours.nan_to_num(99), theirs.nan_to_num(99))
    adjoint = normal(*ours.shape, dtype=dtype)
    one, other = (torch.autograd.grad(y, x, adjoint)[0] for y in (ours, theirs))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@compiled
def test_pooling_may_be_differentiated_any_number_of_times() -> None:
    x = normal(2, 3, 6, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: max_pool2d(x, 3, 2, 1).pow(3), x)
    assert torch.autograd.gradgradcheck(lambda x: max_pool2d(x, 3, 2, 1).pow(3), x)


@compiled
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_average_pooling(kernel: int, dtype: torch.dtype) -> None:
    x = normal(3, 2, 6, 12, dtype=dtype).requires_grad_()
    ours, theirs = (f(x, kernel) for f in (avg_pool2d, functional.avg_pool2d))
    assert "distill.average" in program(lambda x: avg_pool2d(x, kernel), x)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(gradients(ours.pow(2), x), gradients(theirs.pow(2), x), strict=True):
        torch.testing.assert_close(a, b)


@compiled
@pytest.mark.parametrize("operation", ["average", "spread"])
def test_averages_are_differentiated_and_batched(operation: str) -> None:
    x = normal(2, 1, 4, 6).requires_grad_()

    def function(x: Tensor) -> Tensor:
        return getattr(torch.ops.distill, operation)(x, 2).pow(3)  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)
    torch.testing.assert_close(vmap(function, in_dims=4, out_dims=1)(x[..., None]), function(x)[:, None])


@compiled
@pytest.mark.parametrize("options", [(2, 1), (3, 2, 1), (4,), ((2, 3),), (2, 2, 0, True, True, 3)], ids=str)
def test_other_averages_are_torchs(options: tuple[Any, ...]) -> None:
    x = normal(2, 2, 6, 6)
    assert torch.equal(avg_pool2d(x, *options), functional.avg_pool2d(x, *options))


@compiled
def test_a_network_uses_them_where_they_apply() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 4, 3, stride=2), nn.ReLU(inplace=True)
    ).double()
    x = normal(2, 1, 12, 12).requires_grad_()

    def with_kernels(x: Tensor) -> Tensor:
        with kernels.kernels(x.device):
            return network(x)  # type: ignore[no-any-return]

    code = program(with_kernels, x)
    assert code.count("distill.convolution") == code.count("distill.pool_index") == 1
    assert code.count("aten.convolution") == 1
    torch.testing.assert_close(with_kernels(x), network(x), rtol=1e-12, atol=1e-12)
    parameters = list(network.parameters())
    for a, b in zip(gradients(with_kernels(x), *parameters), gradients(network(x), *parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@compiled
def test_arguments_by_name_and_what_is_changed_in_place() -> None:
    first, second, shortcut = normal(3, 1, 3, 3), normal(2, 3, 1, 1), normal(2, 2, 6, 6)

    def network(x: Tensor) -> Tensor:
        y = torch.relu(input=functional.conv2d(x, weight=first))
        y = functional.relu(functional.conv2d(input=y, weight=second))
        y += shortcut  # so that the maximum is no more that of a relu
        return functional.avg_pool2d(input=functional.max_pool2d(y, 2), kernel_size=3)

    x = normal(2, 1, 8, 8)
    with kernels.kernels(x.device):
        found = network(x)
    torch.testing.assert_close(found, network(x), rtol=1e-12, atol=1e-12)


@compiled
@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding": "same"}, {"padding": 3}],
    ids=lambda options: next(iter(options)),
)
def test_other_convolutions_are_torchs(options: dict[str, object]) -> None:
    x, w = normal(2, 4, 12, 12), normal(6, 2 if "groups" in options else 4, 3, 3)
    assert torch.equal(conv2d(x, w, **options), torch.conv2d(x, w, **options))  # type: ignore[arg-type]
    many = normal(2, kernels.CHANNELS, 6, 6), normal(2, kernels.CHANNELS, 3, 3)
    assert torch.equal(conv2d(*many), torch.conv2d(*many))


@compiled
def test_autocast_is_torchs() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        y = conv2d(normal(2, 1, 8, 8, dtype=torch.float32), normal(3, 1, 3, 3, dtype=torch.float32))
    assert y.dtype == torch.bfloat16


@compiled
def test_it_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    name = library().name
    [compiled_file] = [path for path in build.cache().glob("kernels-*.so") if path.name == name]
    before = compiled_file.stat()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    build.load()
    assert compiled_file.stat() == before


@pytest.mark.parametrize("compiler", ["none-of-this-name", "false"])
def test_without_a_compiler(
    compiler: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything runs by torch, and one line says what is missed."""
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels.available.cache_clear()
    try:
        with caplog.at_level(logging.INFO), kernels.kernels(torch.device("cpu")):
            y = torch.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))
    finally:
        kernels.available.cache_clear()
    assert y.item() == 9
    [record] = caplog.records
    assert record.getMessage().startswith("the C++ kernels are not used: ")
    assert "\n" not in record.getMessage()


@compiled
def test_kernels_that_compute_something_else_are_not_used() -> None:
    """In a process of its own, since torch loads a library once."""
    wrong = (
        "import torch; from dataset_distillation import kernels; "
        "kernels.conv2d = lambda x, w, **_: 1.01 * torch.conv2d(x, w, **_); print(kernels.available())"
    )
    found = subprocess.run([sys.executable, "-c", wrong], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
