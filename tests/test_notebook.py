"""What programs and notebooks give the Python interface: arrays of any kind, wrong kinds, odd networks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dataset_distillation as dd

SHORT: dict[str, Any] = {
    "outer": dd.Outer(steps=2, batch_size=16),
    "evaluation": dd.Evaluation(validation_networks=1, validation_images=8, validation_every=2),
    "trainer": dd.Trainer(threads=1, progress_bar=False),
}
ONE = dd.Distilled(steps=1, epochs=1)
IMAGES = torch.rand(80, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(80) % 4


def network() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))


class Around(nn.Module):
    """A network that does something before and something after its layers."""

    def __init__(self, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers, self.before, self.after = network(), before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.layers(self.before(images)))


def as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def distilled(problem: dd.Problem, how: dd.Distilled = ONE) -> dd.DistilledSet:
    return dd.distill(problem, how, **SHORT)


def test_numbers_of_numpy_are_options(tmp_path: Path) -> None:
    how = dd.Distilled(steps=np.int64(1), epochs=np.int32(1), learning_rate=np.float32(0.5))  # type: ignore[arg-type]
    made = distilled(dd.Problem.of(IMAGES, LABELS, network(), seed=np.int64(3)), how)  # type: ignore[arg-type]
    made.save(tmp_path / "set.safetensors")
    read = dd.load_distilled(tmp_path / "set.safetensors")
    assert torch.equal(read.images, made.images)
    assert read.metadata["seed"] == 3
    assert read.metadata["config"]["distilled"]["learning_rate"] == 0.5


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES.numpy(), LABELS.numpy()),
        (IMAGES.numpy()[::-1][::-1], LABELS.tolist()),
        (IMAGES.tolist(), LABELS.numpy().astype(np.uint16)),
        (list(IMAGES), pandas.Series(LABELS.numpy(), index=range(5, 85))),
    ],
)
def test_arrays_of_any_kind_are_the_same_data(images: Any, labels: Any) -> None:
    expected = dd.Problem.of(IMAGES, LABELS, network(), class_names=list("0123"), test=0.25)
    names = np.arange(4)
    problem = dd.Problem.of(images, labels, network(), class_names=names, test=np.float32(0.25))  # type: ignore[arg-type]
    assert problem.data.checksum == expected.data.checksum
    assert problem.data.specification.class_names == expected.data.specification.class_names


def test_a_class_and_a_step_are_named_by_numbers_too() -> None:
    dd.Attack(attacked_class=0, target_class=1).check(["a", "b"])  # type: ignore[arg-type]
    assert dd.Truncated(start=1) == dd.Truncated(start="1")  # type: ignore[arg-type]


OF: dict[str, Any] = {"images": IMAGES, "labels": LABELS, "network": network()}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": ["a"] * 80}, "labels are a list that is no array of numbers"),
        ({"labels": None}, "labels are a NoneType"),
        ({"labels": torch.tensor(3)}, "80 images with 0 labels"),
        ({"images": "images.npy"}, "images are a str"),
        ({"images": [[1.0], [1.0, 2.0]]}, "images are a list"),
        ({"images": IMAGES.double() * 1e300}, "a pixel is not a finite number"),
        ({"labels": torch.full((80, 1), torch.nan)}, "a label is not a finite number"),
        ({"labels": torch.full((80, 1), 1e300, dtype=torch.float64)}, "a label is not a finite number"),
        ({"labels": LABELS[:, None] / 4, "validation": 0.999}, "validation=0.999: cuts 64 of 64"),
        ({"test": None}, "test=a NoneType: must lie between 0 and 1, or be images and labels"),
        ({"test": (IMAGES, LABELS, LABELS)}, "test=a tuple"),
        ({"validation": "0.1"}, "validation=0.1: must lie between 0 and 1"),
        ({"seed": None}, "seed=None: must be an integer"),
        ({"network": dd.LeNet}, "network is the class LeNet: must be an object of the type Module or Arch"),
        ({"network": None}, "network is a NoneType"),
        ({"init": "random"}, "init is a str: must be an object of the type Init"),
        ({"objective": dd.Standard}, "objective is the class Standard"),
        ({"inner_optimizer": "adam"}, "inner_optimizer is a str"),
        ({"augmentation": "dsa"}, "augmentation is a str"),
    ],
)
def test_what_is_no_part_of_a_problem_is_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(dd.UserError, match=message) as error:
        dd.Problem.of(**OF | given)
    assert "\n" not in str(error.value)


def test_what_is_no_option_is_one_line() -> None:
    with pytest.raises(dd.UserError, match="source is a str: must be an object of the type Dataset"):
        dd.Pretrained(source="mnist")  # type: ignore[arg-type]
    for number in (1.0, "1", torch.rand(1)):
        with pytest.raises(dd.ConfigError, match=r"distilled\.steps=.*: must be an integer"):
            dd.Distilled(steps=number)  # type: ignore[arg-type]
    with pytest.raises(dd.UserError, match="unroll is the class Traced: must be an object"):
        dd.distill(dd.Problem.of(**OF), ONE, unroll=dd.Traced, **SHORT)  # type: ignore[arg-type]


def test_double_precision_as_the_default_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)
    with pytest.raises(dd.UserError, match=r"torch\.float64: .* call torch\.set_default_dtype"):
        dd.Problem.of(**OF)


def frozen() -> nn.Module:
    return network().requires_grad_(False)


def test_a_network_that_is_frozen_has_nothing_to_train() -> None:
    with pytest.raises(dd.UserError, match="the network: no parameter that is not frozen"):
        dd.Problem.of(**OF | {"network": frozen()})


@pytest.mark.parametrize(
    ("odd", "how", "message"),
    [
        (Around(as_it_is, torch.Tensor.detach), ONE, "4 images in an inner step and 16 real ones: Runt"),
        (Around(lambda images: images.sub_(0.5), as_it_is), ONE, "is being modified inplace"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 4)),
            dd.Distilled(steps=1, epochs=1, batch_size=1),
            "Sequential cannot be trained on 1 images",
        ),
    ],
)  # fmt: skip
def test_a_network_that_cannot_take_a_step_is_one_line(
    odd: nn.Module, how: dd.Distilled, message: str
) -> None:
    problem = dd.Problem.of(**OF | {"network": odd})
    with pytest.raises(dd.UserError, match=message) as error:
        distilled(problem, how)
    assert "\n" not in str(error.value)


def test_our_own_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise RuntimeError("a bug")

    problem = dd.Problem.of(**OF | {"network": dd.Linear()})
    monkeypatch.setattr("dataset_distillation.outer.memory.measure", bug)
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        distilled(problem)


def test_a_lazy_network_without_a_shape_is_one_line() -> None:
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    with pytest.raises(dd.UserError, match=r"1\.weight has no shape yet: call the network once on an image"):
        dd.Problem.of(IMAGES, LABELS, lazy)
    lazy(IMAGES[:1, None])
    assert distilled(dd.Problem.of(IMAGES, LABELS, lazy)).images.shape == (1, 4, 1, 8, 8)


def test_outputs_that_differ_from_call_to_call_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    dd.Problem.of(**OF | {"network": Around(as_it_is, as_it_is)})
    assert caplog.text == ""
    dd.Problem.of(**OF | {"network": Around(as_it_is, functional.dropout)})
    assert "Around: its outputs for the same images differ from call to call" in caplog.text


def test_test_images_that_are_among_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    told = "7 of 20 test images are train or validation images, too"
    test = torch.cat([IMAGES[[3, 4, 5, 6, 40, 41, 79]], IMAGES[:13] / 2]), torch.arange(20) % 4
    dd.Problem.of(IMAGES, LABELS, network(), test=test)
    assert told in caplog.text
    caplog.clear()
    dd.Problem.of(IMAGES, LABELS, network(), test=0.25)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_images_that_no_gradient_reaches_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    distilled(dd.Problem.of(**OF))
    assert "no gradient" not in caplog.text
    distilled(dd.Problem.of(**OF | {"network": Around(torch.Tensor.detach, as_it_is)}))
    assert caplog.text.count("no gradient reaches the distilled images in the first outer step") == 1


def test_it_distills_where_gradients_are_off() -> None:
    expected = distilled(dd.Problem.of(**OF))
    with torch.no_grad():
        made = distilled(dd.Problem.of(**OF))
        assert not torch.is_grad_enabled()
    assert torch.equal(made.images, expected.images)


@pytest.mark.parametrize(
    "change",
    [{"class_names": ["\ud800", *"123"]}, {"class_names": ["a" * 1001, *"123"]}, {"mean": [np.inf]}],
)  # fmt: skip
def test_no_file_is_written_that_could_not_be_read(change: dict[str, Any], tmp_path: Path) -> None:
    made = distilled(dd.Problem.of(**OF))
    made.metadata.update(change)
    with pytest.raises(dd.UserError, match="not written, since it could not be read again"):
        made.save(tmp_path / "set.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = distilled(dd.Problem.of(**OF))
    made.save("~/set.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["set.safetensors"]
    assert torch.equal(dd.load_distilled("~/set.safetensors").images, made.images)
    how = dd.Distilled(steps=1, epochs=1, start="artifact", start_from="~/set.safetensors")  # type: ignore[arg-type]
    assert distilled(dd.Problem.of(**OF), how).images.shape == made.images.shape


def test_one_baseline_may_be_named_alone() -> None:
    problem = dd.Problem.of(**OF)
    made = distilled(problem)
    alone = dd.evaluate(problem, made, 2, baselines="average_real")
    listed = dd.evaluate(problem, made, 2, baselines=["average_real"])
    assert alone["method"].tolist() == listed["method"].tolist()
    assert alone["mean"].tolist() == listed["mean"].tolist()
