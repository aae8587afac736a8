"""Conversion of images of any kind to uint8 tensors of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dataset_distillation.errors import FileError, short
from dataset_distillation.files import opened
from dataset_distillation.run.machine import check_room

if TYPE_CHECKING:
    import torch
    from PIL import Image


#: Pixels resized at a time, so that the intermediate floats stay small for a dataset of any size.
CHUNK = 1024 * 3 * 64**2

#: The formats that are read, whatever a name ends with: Pillow runs a program for PostScript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
LARGEST = 2**28  # bytes of an image file
MOST_PIXELS = 2**27  # of an image


def channels_first(images: Any) -> torch.Tensor:
    """Return an array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3, as a tensor (N, C, H, W).

    Raises ValueError if it has another shape.
    """
    import torch

    images = torch.as_tensor(images)
    if images.ndim == 3:
        return images.unsqueeze(1)
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images.contiguous()
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return images.permute(0, 3, 1, 2).contiguous()
    raise ValueError(f"shape {tuple(images.shape)} is not (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3")


def convert(images: torch.Tensor, channels: int, size: int, border: int = 0) -> torch.Tensor:
    """Convert uint8 images (N, 1 or 3, H, W) to uint8 (N, `channels`, `size`, `size`), if necessary.

    Images of any shape are resized to a square, bilinear and antialiased; `border` pixels of `size` on each
    side are black.
    """
    from torch.nn.functional import pad
    from torchvision.transforms.v2 import functional

    if images.shape[1] > channels:
        images = _through_floats(images, size, functional.rgb_to_grayscale)
    inner = [size - 2 * border] * 2
    if images.shape[2:] != (size, size):
        check_images(len(images), channels, size)
    if images.shape[2:] != tuple(inner):
        images = _through_floats(images, size, lambda chunk: functional.resize(chunk, inner, antialias=True))
    if border:
        images = pad(images, [border] * 4)
    return functional.grayscale_to_rgb(images) if images.shape[1] < channels else images


def check_images(number: int, channels: int, size: int) -> None:
    """Raise ConfigError unless so many images, uint8 of `size` × `size` pixels, fit the free memory."""
    check_room("dataset.image_size", size, number * channels * size**2, f"{number} images")


def blank(number: int, channels: int, size: int) -> torch.Tensor:
    """Return uint8 images (number, channels, size, size), to be filled. Raises ConfigError if too many."""
    import torch

    check_images(number, channels, size)
    return torch.empty(number, channels, size, size, dtype=torch.uint8)


def _through_floats(
    images: torch.Tensor, size: int, change: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Apply `change` to the images, chunk by chunk, as floats, and round the result.

    On uint8 torchvision truncates grays (white becomes 254) and resizes differently on different CPUs.
    """
    import torch

    channels, *shape = images.shape[1:]
    chunk = max(1, CHUNK // (channels * max(*shape, size) ** 2))
    chunks = (change(part.float()).round_().clamp_(0, 255).to(torch.uint8) for part in images.split(chunk))
    return torch.cat(list(chunks))


def picture(image: Image.Image, channels: int, size: int) -> torch.Tensor:
    """Convert a PIL image of any mode to uint8 (`channels`, `size`, `size`), resized as in `convert`.

    Pillow resizes in integers: it gives the same result on every CPU, needs half the time of floats, and
    releases Python's lock.
    """
    from PIL.Image import Resampling
    from torchvision.transforms.v2 import functional

    image = image.convert("L" if channels == 1 else "RGB")
    return functional.pil_to_tensor(image.resize((size, size), Resampling.BILINEAR))


def decoded(
    file: Path | str, channels: int, size: int, box: tuple[int, int, int, int] | None = None
) -> torch.Tensor:
    """Return the image in `file`, or its part (left, top, right, bottom), as uint8 (channels, size, size).

    Raises UserError, with a message of one line, if it cannot be read.
    """
    with opened_image(file) as image:
        return picture(image.crop(box) if box else image, channels, size)


@contextmanager
def opened_image(
    file: Path | str, formats: tuple[str, ...] = FORMATS, pixels: int = MOST_PIXELS
) -> Iterator[Image.Image]:
    """Open an image of at most `pixels` pixels.

    Raises FileError, with a message of one line, also if the image turns out to be damaged while it is used.
    """
    with opened(file, LARGEST) as content:
        try:
            with recognized(content, formats, pixels) as image:
                yield image
        except Unreadable as error:
            raise FileError(f"{file}: not a readable image ({error}); repair or remove it") from error


class Unreadable(Exception):
    """The content of a file is no image, or a damaged one; the message is the reason, in one line."""


@contextmanager
def recognized(
    content: IO[bytes], formats: tuple[str, ...] = FORMATS, pixels: int = MOST_PIXELS
) -> Iterator[Image.Image]:
    """Open the image, of at most `pixels` pixels, that a file holds.

    Raises Unreadable, also if the image turns out to be damaged while it is used.
    """
    from PIL import Image

    try:
        with Image.open(content, formats=formats) as image:
            if image.width * image.height > pixels:
                raise ValueError(f"{image.width} × {image.height} pixels")
            yield image
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError and more for damaged files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        reason = "not of a known format" if isinstance(error, Image.UnidentifiedImageError) else reason
        raise Unreadable(short(reason)) from error


def moments(images: torch.Tensor) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel of (N, C, H, W); bytes are first scaled to [0, 1]."""
    import torch

    if images.is_floating_point():
        pixels = images.double().movedim(1, 0).flatten(1)
        return pixels.mean(dim=1).tolist(), pixels.std(dim=1, correction=0).tolist()
    # 256 counts per channel are exact in float64 and need no float copy of the images.
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean.append(float(share @ values))
        std.append(float(share @ (values - mean[-1]) ** 2) ** 0.5)
    return mean, std
