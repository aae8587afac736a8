"""The distilled sets that come with the package: results/ of the repository."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from dataset_distillation.errors import NoFile

RESULTS = "dataset_distillation.results"


def published(experiment: str, seed: int) -> Path:
    """Return the artifact of `experiment` and `seed` that comes with the package.

    Raises NoFile, which names the experiments and seeds that there are.
    """
    folder = Path(str(files(RESULTS)))
    artifacts = {
        (str(path.parents[1].relative_to(folder)), path.parent.name): path
        for path in sorted(folder.glob("**/seed_*/distilled.safetensors"))
    }
    if (experiment, f"seed_{seed}") not in artifacts:
        known: dict[str, list[str]] = {}
        for name, of_seed in artifacts:
            known.setdefault(name, []).append(of_seed.removeprefix("seed_"))
        listed = "; ".join(f"{name} (seeds {', '.join(seeds)})" for name, seeds in known.items())
        raise NoFile(f"no published set of {experiment} with seed {seed}; there are: {listed or 'none'}")
    return artifacts[experiment, f"seed_{seed}"]
