"""PASCAL VOC 2007 and CUB-200-2011 in the form of their official archives, with few images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from dataset_distillation.datasets.voc2007 import CLASSES

OBJECT = """<object><name>{}</name><truncated>1</truncated><difficult>{}</difficult><bndbox><xmin>11</xmin>
<ymin>6</ymin><xmax>20</xmax><ymax>25</ymax></bndbox><part><name>hand</name><bndbox><xmin>1</xmin>
<ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"""


def voc(root: Path) -> Path:
    """A white photograph for each of two train and one test object of each class, black where the object is.

    The first train and the first test photograph have an object marked difficult, too. Returns `root`.
    """
    tree = root / "VOCdevkit" / "VOC2007"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tree / folder).mkdir(parents=True)
    for part, labels in {"trainval": [*range(20)] * 2, "test": [*range(20)]}.items():
        names = [f"{part}_{index:06}" for index in range(len(labels))]
        (tree / f"ImageSets/Main/{part}.txt").write_text("\n".join(names) + "\n")
        for index, (name, label) in enumerate(zip(names, labels, strict=True)):
            objects = OBJECT.format(CLASSES[label], 0) + (OBJECT.format("cat", 1) if index == 0 else "")
            (tree / f"Annotations/{name}.xml").write_text(
                f"<annotation><owner><name>me</name></owner>{objects}</annotation>"
            )
            image = Image.new("RGB", (40, 30), (255, 255, 255))
            image.paste((label, 0, 0), (10, 5, 20, 25))  # columns 11 to 20 and rows 6 to 25, counted from 1
            image.save(tree / f"JPEGImages/{name}.jpg", format="PNG")  # without loss, so that edges are sharp
    return root


def cub(root: Path) -> Path:
    """Three species of four train and two test images each, in a shade of their own. Returns `root`."""
    tree = root / "CUB_200_2011"
    tables: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": []}
    for number, (label, index) in enumerate(((label, index) for label in range(3) for index in range(6)), 1):
        name = f"{label + 1:03}.The_Bird_{label}/{index}.jpg"
        (tree / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9 + number, 7), 10 * label).save(tree / "images" / name, quality=100)
        for table, value in zip(tables.values(), (name, label + 1, int(index < 4)), strict=True):
            table.append(f"{number} {value}\n")
    tables["classes"] = [f"{n + 1} {n + 1:03}.The_Bird_{n}\n" for n in range(3)]
    for file, table in tables.items():
        (tree / f"{file}.txt").write_text("".join(table))
    return root


def voc_photographs(source: Path, root: Path) -> None:
    """A few photographs of those in `source`, with two train objects and a test object of each class."""
    theirs, ours = (folder / "VOCdevkit" / "VOC2007" for folder in (source, root))
    (ours / "ImageSets/Main").mkdir(parents=True)
    for folder in ("Annotations", "JPEGImages"):
        (ours / folder).symlink_to((theirs / folder).absolute())
    for part, enough in {"trainval": 2, "test": 1}.items():
        names, seen = [], Counter[str | None]()
        for name in (theirs / f"ImageSets/Main/{part}.txt").read_text().split():
            objects = ElementTree.parse(theirs / f"Annotations/{name}.xml").findall("object")
            classes = [found.findtext("name") for found in objects]
            if any(seen[shown] < enough for shown in classes):
                names.append(name)
                seen.update(classes)
        (ours / f"ImageSets/Main/{part}.txt").write_text("\n".join(names) + "\n")


def cub_photographs(source: Path, root: Path, species: int = 3) -> None:
    """The photographs of the first few species of those in `source`."""
    theirs, ours = (folder / "CUB_200_2011" for folder in (source, root))
    ours.mkdir()
    (ours / "images").symlink_to((theirs / "images").absolute())
    labels = dict(line.split() for line in (theirs / "image_class_labels.txt").read_text().splitlines())
    images = {number for number, label in labels.items() if int(label) <= species}
    for table in ("classes", "images", "image_class_labels", "train_test_split"):
        kept = {str(number + 1) for number in range(species)} if table == "classes" else images
        lines = (theirs / f"{table}.txt").read_text().splitlines(keepends=True)
        (ours / f"{table}.txt").write_text("".join(line for line in lines if line.split()[0] in kept))
