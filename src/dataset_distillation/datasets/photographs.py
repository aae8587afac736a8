"""Photographs as people have them: of any common format, turned, transparent, deep, or damaged."""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, NamedTuple

from dataset_distillation.datasets import MOST_PIXELS, Dataset
from dataset_distillation.datasets.conversion import Unreadable, blank, picture, recognized
from dataset_distillation.datasets.data import Raw
from dataset_distillation.datasets.splits import cut
from dataset_distillation.errors import FileError, UserError, count, member, refuse
from dataset_distillation.run.progress import progress

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


log = logging.getLogger(__name__)

#: The tag of EXIF that says how the camera was held, and what turns such an image upright: names of PIL's
#: Transpose, by the number of the orientation (EXIF 2.3, tag 0x0112).
ORIENTATION = 0x0112
UPRIGHT = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
    7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip

MOST_NAMED = 50  # files in one message


class Background(StrEnum):
    """What shows through the transparent pixels of an image."""

    white = "white"
    gray = "gray"
    black = "black"


class OnError(StrEnum):
    """What becomes of files that are not readable images: they are refused, or left out and counted."""

    refuse = "refuse"
    skip = "skip"


class Photo(NamedTuple):
    """An image that is still encoded: its name in messages, its class, and what opens its content.

    If it is not `expected` to be an image, it may be of another kind, such as a text beside the images.
    """

    name: str
    label: int
    opened: Callable[[], AbstractContextManager[IO[bytes]]]
    expected: bool = True


class Photos(NamedTuple):
    """The images of one split, in chunks whose encoded contents are in memory at once."""

    number: int
    chunks: Iterable[Sequence[Photo]]


class Developed(NamedTuple):
    """The decoded images of one split, uint8 (N, channels, size, size), their labels (N,), and the others."""

    images: Tensor
    labels: Tensor
    unreadable: list[tuple[str, str]]  # the names of files, and the reasons
    others: list[str]  # the names of files that need not be images, and are none
    several_frames: int

    @property
    def labeled(self) -> tuple[Tensor, Tensor]:
        return self.images, self.labels


@dataclass
class Photographs(Dataset):
    """Images of any size in the folder `path`, in files of the common formats; a source derives from it.

    Images are turned as their EXIF orientation says, composed on `background` where they are transparent,
    scaled to 8 bits if they have 16, and resized to a square without a crop. Of several frames the first is
    used.

    test: the share of each class that is cut for testing, if the source has no test split.
    background: what shows through transparent pixels: `white`, `gray` or `black`.
    on_error: what becomes of files that are not readable images: `refuse` names them all; `skip` leaves them
        out, and the result has their number.

    Raises ConfigError if a value is not allowed.
    """

    #: What a folder holds, as the message says that refuses a path.
    layout: ClassVar[str]

    name: str = "images"
    path: str = "???"
    channels: int = 3
    image_size: int = count(32, most=MOST_PIXELS)
    test: float = 0.2
    background: Background = Background.white
    on_error: OnError = OnError.refuse

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.test < 1:
            raise refuse("dataset.test", self.test, "must lie between 0 and 1")
        self.background = member("dataset.background", self.background, Background)
        self.on_error = member("dataset.on_error", self.on_error, OnError)
        if not self.folder.is_dir():
            raise refuse("dataset.path", self.path, "no such folder", self.layout)

    @property
    def folder(self) -> Path:
        return Path(self.path).expanduser()

    def raw(self, parts: dict[str, Photos], class_names: list[str]) -> Raw:
        """Return the decoded images of the parts: `train` and, if the source has them, `test`, `validation`.

        Without a test part, a share of the train part is cut. Raises UserError naming all unreadable files.
        """
        developed = self.developed(parts)
        skipped = sum(len(part.unreadable) for part in developed.values())
        train = developed["train"]
        validation = developed["validation"].labeled if "validation" in developed else None
        if "test" in developed:
            return Raw(train.labeled, developed["test"].labeled, class_names, validation, skipped)
        raw = cut(*train.labeled, self.test, class_names)
        return raw._replace(validation=validation, skipped=skipped)

    def developed(self, parts: dict[str, Photos]) -> dict[str, Developed]:
        """Return the decoded images of each part.

        Raises UserError naming all unreadable files, unless they are to be left out.
        """
        with progress("reading images", sum(part.number for part in parts.values())) as advance:
            developed = {part: self._develop(photos, advance) for part, photos in parts.items()}
        if several := sum(part.several_frames for part in developed.values()):
            what = counted(several, "image has", "images have")
            log.info("%s several frames, of which the first is used", what)
        if others := [name for part in developed.values() for name in part.others]:
            what = counted(len(others), "file is no image", "files are no images")
            log.info("%s: %s", what, listed(others, 3))
        if bad := [each for part in developed.values() for each in part.unreadable]:
            self._tell(bad, len(bad) + sum(len(part.labels) for part in developed.values()))
        return developed

    def _tell(self, bad: Sequence[tuple[str, str]], total: int) -> None:
        told = f"{len(bad):,} of {total:,} images cannot be read: {_by_reason(bad)}"
        if self.on_error == "refuse":
            remedy = "repair or remove them, or leave them out by dataset.on_error=skip"
            raise UserError(f"dataset {self.title}: {told}; {remedy}")
        log.warning("dataset.on_error=skip: %s", told)

    def _develop(self, photos: Photos, advance: Callable[[], None]) -> Developed:
        import torch
        from PIL import Image

        images = blank(photos.number, self.channels, self.image_size)
        bad: list[tuple[str, str]] = []
        others: list[str] = []
        good: list[int] = []
        several = 0
        with ThreadPoolExecutor(torch.get_num_threads()) as pool, warnings.catch_warnings():
            # Pillow warns of images with more pixels than its own limit (ours is conversion.MOST_PIXELS) and
            # of odd metadata, which are not used.
            warnings.simplefilter("ignore")
            Image.init()  # here, because threads that start together would each find some formats missing
            results = (zip(chunk, pool.map(self._pixels, chunk), strict=True) for chunk in photos.chunks)
            for photo, result in chain.from_iterable(results):
                if not isinstance(result, str):
                    images[len(good)], frames = result
                    good.append(photo.label)
                    several += frames
                elif photo.expected:
                    bad.append((photo.name, result))
                else:
                    others.append(photo.name)
                advance()
        return Developed(images[: len(good)], torch.tensor(good, dtype=torch.long), bad, others, several)

    def _pixels(self, photo: Photo) -> tuple[torch.Tensor, bool] | str:
        """Return the image and whether its file has several frames, or why it cannot be read."""
        try:
            with photo.opened() as content, recognized(content) as image:
                several = bool(getattr(image, "is_animated", False))
                flat = prepared(image, self.background)
                return picture(flat, self.channels, self.image_size), several
        except Unreadable as error:
            return "cut short" if "truncated" in str(error).lower() else str(error)
        except FileError as error:  # a pipe, a file that may not be read, one that is too large
            return str(error).rpartition(": ")[2]


def prepared(image: Image.Image, background: str) -> Image.Image:
    """Return `image` upright, opaque and with 8 bits per channel, in a mode that Pillow converts faithfully.

    Raises ValueError if its pixels have no known scale.
    """
    from PIL import Image
    from PIL.Image import Transpose

    orientation = None
    with suppress(Exception):  # damaged EXIF raises anything, and the pixels are sound
        orientation = image.getexif().get(ORIENTATION)
    image = _eight_bits(image)
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, str(background)), transparent)
    return image.transpose(Transpose[UPRIGHT[orientation]]) if orientation in UPRIGHT else image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 16 bits, or of floats in [0, 1], with 8 bits; Pillow would clip it at 255."""
    import numpy as np
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.asarray(image)
    highest = 1.0 if image.mode == "F" else 65535.0
    if not 0 <= pixels.min() <= pixels.max() <= highest:
        raise ValueError(f"pixels from {pixels.min():g} to {pixels.max():g}, not from 0 to {highest:g}")
    return Image.fromarray(np.rint(pixels * (255 / highest)).astype(np.uint8))


def _by_reason(bad: Sequence[tuple[str, str]]) -> str:
    """Return the names of files grouped by the reasons why they cannot be read."""
    reasons = defaultdict(list)
    for name, reason in bad:
        reasons[reason].append(name)
    return "; ".join(f"{reason}: {listed(names, MOST_NAMED)}" for reason, names in reasons.items())


def listed(names: Sequence[str], most: int) -> str:
    """Return the first `most` names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
