"""What the groups offer: the files in conf/."""

from __future__ import annotations

from importlib.resources import files


def choices(group: str) -> dict[str, str]:
    """Return each choice of a group with the comment in the first line of its file, which describes it."""
    folder = files("dataset_distillation.conf") / group
    return {
        file.name.removesuffix(".yaml"): _head(file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml")
    }


def _head(yaml: str) -> str:
    # Hydra requires its `# @package` line to be the first one.
    return next(line for line in yaml.splitlines() if not line.startswith("# @package")).lstrip("# ")
