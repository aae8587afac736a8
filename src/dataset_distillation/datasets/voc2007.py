"""PASCAL VOC 2007 as the paper uses it: one image per annotated object, cropped to its box (Table 3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from dataset_distillation.datasets.image_files import LARGEST_TEXT, Files, Sample, lines
from dataset_distillation.errors import damaged
from dataset_distillation.files import read

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass
class VOC2007(Files):
    """20-way classification of objects, trained on `trainval` and tested on `test`.

    The two official archives unpack to `root`/VOCdevkit/VOC2007. Truncated, occluded and small objects are
    used; objects marked difficult, which the challenge leaves out of its evaluation, are used if `difficult`.
    Two objects of one photograph may be in different splits, train and validation.
    """

    tree = "VOCdevkit/VOC2007"
    archives = "VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar"

    name: str = "VOC2007"
    difficult: bool = True

    def samples(self, tree: Path, part: str) -> list[Sample]:
        file = tree / "ImageSets" / "Main" / {"train": "trainval.txt", "test": "test.txt"}[part]
        return [sample for name in lines(file) for sample in self._objects(tree, name)]

    def classes(self, tree: Path) -> list[str]:
        return list(CLASSES)

    def _objects(self, tree: Path, name: str) -> list[Sample]:
        """Return the objects of the photograph `name` that are used."""
        annotation = tree / "Annotations" / f"{name}.xml"
        try:
            # Direct children only: the parts of a person (head, hand, foot) have their own names and boxes.
            return [
                Sample(tree / "JPEGImages" / f"{name}.jpg", CLASSES.index(_text(thing, "name")), _box(thing))
                for thing in ElementTree.fromstring(read(annotation, LARGEST_TEXT)).findall("object")
                if self.difficult or _text(thing, "difficult") == "0"
            ]
        except (ElementTree.ParseError, ValueError, OverflowError) as error:
            raise damaged(annotation, "an annotation of VOC 2007", error) from error


def _text(element: ElementTree.Element, name: str) -> str:
    if (text := element.findtext(name)) is None:
        raise ValueError(f"<{element.tag}> without <{name}>")
    return text.strip()


def _box(element: ElementTree.Element) -> tuple[int, int, int, int]:
    """Return the box of an object in pixels from 0; annotations count from 1 and include both corners."""
    box = element.find("bndbox")
    if box is None:
        raise ValueError("<object> without <bndbox>")
    left, top, right, bottom = (int(float(_text(box, name))) for name in ("xmin", "ymin", "xmax", "ymax"))
    return left - 1, top - 1, right, bottom
