"""Augmentations against turns, slices and mirrors of torch, formulas, and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dataset_distillation.augmentation import Augmentation, by_name, dsa
from dataset_distillation.augmentation.affine import around, flipped, rotation, warped
from dataset_distillation.augmentation.dsa import DSA, OPERATIONS
from dataset_distillation.augmentation.flip_rotate import FlipRotate
from dataset_distillation.augmentation.none import NoAugmentation
from dataset_distillation.augmentation.shift_rotate import ShiftRotate
from dataset_distillation.errors import ConfigError
from dataset_distillation.inner_optimizers import MadeSteps, Step

KINDS = [FlipRotate(), ShiftRotate(), *(DSA([name]) for name in OPERATIONS)]
kinds = pytest.mark.parametrize("kind", KINDS, ids=["flip_rotate", "shift_rotate", *OPERATIONS])


def images(number: int = 4, channels: int = 3, size: int = 8) -> Tensor:
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(0)).double()


def same(n: int) -> Tensor:
    return torch.eye(2).double().expand(n, 2, 2)


@pytest.mark.parametrize(("degrees", "turns"), [(90.0, 1), (180.0, 2), (-90.0, -1)])
def test_a_quarter_turn_is_torchs(degrees: float, turns: int) -> None:
    turned = warped(images(), rotation(torch.full((4,), degrees).double()))
    torch.testing.assert_close(turned, images().rot90(turns, (-2, -1)), rtol=0, atol=1e-12)


def test_a_shift_by_whole_pixels_is_a_slice() -> None:
    shift = torch.tensor([[2.0, -1.0]]).double().expand(4, 2)  # what was 2 to the right and 1 above
    moved = warped(images(), same(4), shift)
    torch.testing.assert_close(moved[..., 1:, :-2], images()[..., :-1, 2:], rtol=0, atol=1e-12)
    torch.testing.assert_close(moved[..., 1:, -1], images()[..., :-1, -1], rtol=0, atol=1e-12)  # the border
    with_zeros = warped(images(), same(4), shift, padding="zeros")
    assert torch.allclose(with_zeros[..., -2:], torch.zeros(()).double(), atol=1e-12)


def test_a_shift_by_half_a_pixel_is_a_mean() -> None:
    moved = warped(images(), same(4), torch.tensor([[0.5, 0.0]]).double().expand(4, 2))
    mean = (images()[..., :-1] + images()[..., 1:]) / 2
    torch.testing.assert_close(moved[..., :-1], mean, rtol=0, atol=1e-12)


def test_small_draws_are_mirrored() -> None:
    mirrored = flipped(images(), torch.tensor([0.0, 0.49, 0.5, 0.9]))
    assert torch.equal(mirrored[:2], images()[:2].flip(-1))
    assert torch.equal(mirrored[2:], images()[2:])


def test_draws_in_the_middle_change_nothing() -> None:
    middle = torch.full((1, 3), 0.5).double()
    assert around(middle, 7.0).abs().max() == 0
    torch.testing.assert_close(ShiftRotate().apply(images(), middle), images(), rtol=0, atol=1e-12)
    torch.testing.assert_close(FlipRotate().apply(images(), middle), images(), rtol=0, atol=1e-12)


def test_a_mirror_and_an_angle_have_draws_of_their_own() -> None:
    for mirror, angle, turns in ((0.2, 1.0, 1), (0.9, 0.0, -1)):
        found = FlipRotate(degrees=90).apply(images(), torch.tensor([[mirror, angle]]).double())
        mirrored = images().flip(-1) if mirror < 0.5 else images()
        torch.testing.assert_close(found, mirrored.rot90(turns, (-2, -1)), rtol=0, atol=1e-9)


def test_the_draw_that_chooses_an_operation_is_not_one_of_its_own() -> None:
    low, high = torch.tensor([[0.1, 0.9, 0.9, 0.9], [0.9, 0.1, 0.1, 0.1]]).double()[:, None]
    assert torch.equal(DSA(["flip"]).apply(images(), low), images())
    assert torch.equal(DSA(["flip"]).apply(images(), high), images().flip(-1))


def test_zeros_come_from_outside_of_a_turned_image() -> None:
    turned = dsa.rotate(torch.ones(1, 1, 8, 8).double(), torch.ones(1, 1).double())[0, 0]
    assert max(turned[0, 0], turned[0, -1], turned[-1, 0], turned[-1, -1]) < 0.5
    torch.testing.assert_close(turned[3:5, 3:5], torch.ones(2, 2).double())


def test_the_color_is_that_of_the_papers_code() -> None:
    x, draws = images(), torch.rand(4, 3, generator=torch.Generator().manual_seed(1)).double()
    for image, (b, s, c), ours in zip(x, draws, dsa.color(x, draws), strict=True):
        image = image + b - 0.5
        image = 2 * s * (image - image.mean(0)) + image.mean(0)
        torch.testing.assert_close(ours, (c + 0.5) * (image - image.mean()) + image.mean())


def test_the_cutout_is_a_square_of_half_the_size() -> None:
    draws = torch.tensor([[0.5, 0.5], [0.0, 0.0], [0.99, 0.0], [0.0, 0.99]]).double()
    zero = (dsa.cutout(torch.ones(4, 1, 8, 8), draws) == 0).squeeze(1)
    assert zero.flatten(1).sum(1).tolist() == [16, 4, 4, 4]  # at the border a part of it lies outside
    assert zero[0, 2:6, 2:6].all()
    assert zero[1, :2, :2].all()
    assert zero[2, :2, 6:].all()
    assert zero[3, 6:, :2].all()


def test_the_middle_of_an_odd_cutout_lies_in_the_image() -> None:
    """As in the authors' code: of 10 pixels 5, around 0 to 9; around 9, 7 to 9 are left of it."""
    cut = dsa.cutout(torch.ones(2, 1, 10, 10), torch.tensor([[0.999, 0.999], [0.0, 0.0]]))
    assert cut[0, 0].nonzero().max() == 9
    assert (cut == 0).sum((1, 2, 3)).tolist() == [9, 9]


def test_a_crop_shifts_by_an_eighth_at_most() -> None:
    x, draws = images(1, size=16), torch.tensor([[0.999, 0.5]]).double()  # 2 of 16 pixels to the left
    cropped = dsa.crop(x, draws)
    torch.testing.assert_close(cropped[..., :-2], x[..., 2:], rtol=0, atol=1e-12)
    assert cropped[..., -2:].abs().max() < 1e-12


def test_the_scale_keeps_the_middle() -> None:
    """At a factor of 1.2, the right border of the image lies where 1/1.2 of the way to it was."""
    line = torch.linspace(-1, 1, 8, dtype=torch.float64).expand(1, 1, 8, 8)
    scaled = dsa.scale(line, torch.tensor([[1.0, 0.5]]).double())
    torch.testing.assert_close(scaled[0, 0, 3, 1:-1], 1.2 * line[0, 0, 3, 1:-1], rtol=0, atol=1e-12)


@kinds
def test_the_gradient_is_that_of_finite_differences(kind: Augmentation) -> None:
    x = images(2, 3, 5).requires_grad_()
    draws = torch.rand(2, kind.numbers, generator=torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(lambda x: kind.apply(x, draws), (x,))


@kinds
def test_draws_depend_on_name_and_step_alone(kind: Augmentation) -> None:
    x, made = images(20, size=16), lambda *name: kind.images(images(20, size=16), *name)
    assert torch.equal(made(0, "a", 3), made(0, "a", 3))
    for other in [(1, "a", 3), (0, "b", 3), (0, "a", 4)]:
        assert not torch.equal(made(0, "a", 3), made(*other))
    assert not torch.equal(made(0, "a", 3), x)


@kinds
def test_networks_see_the_same_changes(kind: Augmentation) -> None:
    both = torch.stack([images(), images() + 1])
    together = kind.images(both, 0, "a")
    alone = torch.stack([kind.images(each, 0, "a") for each in both])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@kinds
def test_one_draw_changes_all_images_alike(kind: Augmentation) -> None:
    draws = torch.rand(1, kind.numbers, generator=torch.Generator().manual_seed(3)).double()
    alike = kind.apply(images(1).expand(4, 3, 8, 8), draws)
    assert torch.equal(alike, alike[:1].expand(4, 3, 8, 8))


def test_each_batch_has_one_operation_and_all_have_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda x, _, name=name: called.append(name) or x)
    for step in range(60):
        DSA().images(images(), 0, "a", step)
    assert len(called) == 60
    assert set(called) == {"color", "crop", "cutout", "flip", "scale", "rotate"}


def test_steps_are_augmented_when_they_are_asked_for_and_always_alike() -> None:
    steps = [Step(images() + t, torch.arange(4), torch.tensor(0.1 * t)) for t in range(5)]
    augmented = ShiftRotate().steps(steps, 7, "a")
    assert isinstance(augmented, MadeSteps)
    assert len(augmented) == 5
    part = augmented[2:][1:]
    assert [float(step.learning_rate) for step in part] == pytest.approx([0.3, 0.4])
    assert torch.equal(part[0].images, augmented[3].images)
    assert torch.equal(part[0].images, ShiftRotate().images(steps[3].images, 7, "a", 3))
    assert not torch.equal(augmented[0].images + 1, augmented[1].images)
    assert NoAugmentation().steps(steps, 7, "a") is steps


def test_choices_by_name() -> None:
    assert by_name("flip_rotate", {"degrees": 3.0}) == FlipRotate(3.0)
    assert by_name("none", {}) == NoAugmentation()
    for name, options in (("affine", {}), ("nothing", {}), ("dsa", {"degrees": 1})):
        with pytest.raises(ValueError, match=r"unknown|not enough"):
            by_name(name, options)


@pytest.mark.parametrize("degrees", [-1.0, math.inf, math.nan])
def test_what_is_refused(degrees: float) -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.degrees=.*must be 0 or more"):
        FlipRotate(degrees)
    with pytest.raises(ConfigError, match=r"augmentation\.operations=blur: must be one of"):
        DSA(["blur"])
    with pytest.raises(ConfigError, match="is empty"):
        DSA([])


@kinds
def test_in_half_precision_they_are_computed_in_single(kind: Augmentation) -> None:
    """Where an autocast surrounds them, and of images that are stored so."""
    single = images().float()
    expected = kind.images(single, 0, "a", 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kind.images(single, 0, "a", 1), expected)
    half = single.bfloat16()
    of_half = kind.images(half, 0, "a", 1)
    assert of_half.dtype == torch.bfloat16
    assert torch.equal(of_half, kind.images(half.float(), 0, "a", 1).bfloat16())


def test_no_draw_is_rounded_up_to_1() -> None:
    """In bfloat16 one in 500 is; there is no seventh operation, and no image would be mirrored by 1."""
    half, all_operations = images(1).bfloat16(), DSA()
    for step in range(2000):
        all_operations.images(half, 0, "a", step)
