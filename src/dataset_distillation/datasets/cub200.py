"""CUB-200-2011: 200 species of birds, with the official split (Wah et al. 2011)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataset_distillation.datasets.image_files import Files, Sample, lines
from dataset_distillation.errors import UserError


@dataclass
class CUB200(Files):
    """5,994 train and 5,794 test photographs, whole, not cropped to the bird.

    The official archive unpacks to `root`/CUB_200_2011: classes.txt, images.txt, image_class_labels.txt,
    train_test_split.txt, each a table of a number and a value, and images/.
    """

    tree = "CUB_200_2011"
    archives = "CUB_200_2011.tgz"

    name: str = "CUB200"

    def samples(self, tree: Path, part: str) -> list[Sample]:
        images, classes = _table(tree / "images.txt"), len(self.classes(tree))
        labels = _table(tree / "image_class_labels.txt", images, {str(n + 1) for n in range(classes)})
        trains = _table(tree / "train_test_split.txt", images, {"0", "1"})
        flag = {"train": "1", "test": "0"}[part]
        return [
            Sample(tree / "images" / image, int(labels[number]) - 1)
            for number, image in images.items()
            if trains[number] == flag
        ]

    def classes(self, tree: Path) -> list[str]:
        # The names in classes.txt look like "001.Black_footed_Albatross".
        names = _table(tree / "classes.txt").values()
        return [name.partition(".")[2].replace("_", " ") or name for name in names]


def _table(
    file: Path, numbers: dict[str, str] | None = None, values: set[str] | None = None
) -> dict[str, str]:
    """Read lines of "<number> <value>": one for each of `numbers`, with one of `values`. Raises UserError."""
    table: dict[str, str] = {}
    for line in lines(file):
        number, _, value = line.partition(" ")
        if not number.isdigit() or not value or (values and value not in values):
            raise UserError(f"{file}: unexpected line {line!r}")
        table[number] = value
    if numbers and (odd := next((n for n in {**numbers, **table} if (n in numbers) != (n in table)), None)):
        raise UserError(f"{file}: image {odd} is missing either in this file or in images.txt")
    return table
