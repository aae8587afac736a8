"""Copy finished runs into results/, and make the documentation's tables and figures from all that is there.

python tools/publish.py [--numbers] [outputs/mnist_fixed_10/seed_0 ...]

The repository should not hold more than 15 MB of results. A point of a figure is published with its numbers
alone, and so is what is asked for by --numbers; other runs with their set, and seed 0 with its picture.

The names of folders and hosts of the machine are left out. Only runs of committed code are published.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset_distillation.cli.pages import main as report
from dataset_distillation.distilled.artifact import load_distilled
from dataset_distillation.evaluation.comparison import read_evaluation
from dataset_distillation.files import write, write_json
from dataset_distillation.report.runs import RecordedRun
from dataset_distillation.report.seeds import PLACES, changed
from dataset_distillation.run.folder import ARTIFACT, EVALUATION, GRID, IMAGES, RESULT

ROOT = Path(__file__).parents[1]
JUDGED = "judged"  # the folder of what distill-evaluate gave
RESULTS, DOCUMENTS, README = ROOT / "results", ROOT / "docs" / "results", ROOT / "README.md"
PLACE = re.compile(r"(?<=<!-- results/)(\w+\.md)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def publish(folder: Path, numbers: bool = False) -> Path:
    """Copy the files of the run in `folder` that are published, or its numbers alone; return their folder."""
    run = RecordedRun(folder)
    made, experiment = run.result.provenance, run.result.value("experiment")
    if run.result.status != "finished" or made.git_dirty or not (run.judges or experiment):
        sys.exit(f"{folder}: not a finished run of an experiment, from committed code")
    point = ",".join(f"{key}={run.overrides[key]}" for key in sorted(changed(run)))
    if run.judges:
        target = RESULTS / JUDGED / run.judged_set / (point or "as_made")
    else:
        target = RESULTS / experiment / point / f"seed_{run.result.value('seed')}"
        distilled = None if point or numbers else load_distilled(folder / ARTIFACT)
        before = _content(target / ARTIFACT)
        for name in (ARTIFACT, GRID):
            (target / name).unlink(missing_ok=True)
        if distilled:
            told = distilled.metadata | {"config": anywhere(distilled.metadata["config"])}
            replace(distilled, metadata=told).save(target / ARTIFACT)
            if run.result.value("seed") == 0:
                write(target / GRID, compact((folder / IMAGES / GRID).read_bytes()))
        if before != _content(target / ARTIFACT):  # what was judged was another set of this name
            shutil.rmtree(RESULTS / JUDGED / experiment / target.name, ignore_errors=True)
    write_json(target / RESULT, portable(json.loads((folder / RESULT).read_text())))
    write(target / EVALUATION, rounded(folder / EVALUATION))
    return target


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def rounded(path: Path) -> bytes:
    """Return the table of an evaluation with six digits of each number, which is half of it."""
    runs = read_evaluation(path)
    assert runs is not None
    return runs.to_csv(index=False, float_format="%.6g").encode()


def compact(picture: bytes) -> bytes:
    """Return an opaque picture as a PNG without opacity, of 16 levels if it is gray, else of 128 colors."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    buffer = io.BytesIO()
    if (pixels == pixels[..., :1]).all():
        levels = Image.fromarray(((pixels[..., 0].astype(int) * 15 + 127) // 255).astype(np.uint8), mode="P")
        levels.putpalette([17 * level for level in range(16) for _ in "rgb"])
        levels.save(buffer, format="PNG", optimize=True, bits=4)
    else:
        Image.fromarray(pixels).quantize(128).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def portable(result: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a `result.json` without the folders and the host of the machine."""
    overrides = [text for text in result["overrides"] if not _place(text.partition("=")[0])]
    result = anywhere(result)
    program, made, config = "distill", result["provenance"], result["config"]
    if result.get("artifact"):
        program = "distill-evaluate"
        result["artifact"] = config["artifact"] = _in_the_repository(result["artifact"])
        overrides = [
            f"artifact={result['artifact']}",
            *(o for o in overrides if not o.startswith("artifact=")),
        ]
    made |= {"command": shlex.join([program, *overrides]), "overrides": overrides}
    made["attempts"] = [attempt | {"host": ""} for attempt in made["attempts"]]
    return result | {"overrides": overrides}


def _in_the_repository(path: str) -> str:
    """`results/<experiment>/seed_<n>/<file>` of a set's path, be it published or its numbers alone."""
    return str(Path(RESULTS.name, *Path(path).parts[-3:]))


def _place(key: str) -> bool:
    return key.rpartition(".")[2] in PLACES or key.startswith("hydra.")


def anywhere(config: Any) -> Any:
    """Return a config or a record without the folders of the machine: only the last name of each remains."""
    if not isinstance(config, dict):
        return config
    return {
        key: Path(value).name if key in PLACES and isinstance(value, str) else anywhere(value)
        for key, value in config.items()
    }


def filled(page: str) -> str:
    """Return `page` with the content of `docs/results/<name>.md` between the marks that name it."""
    return PLACE.sub(lambda found: found[1] + found[2] + (DOCUMENTS / found[1]).read_text(), page)


def main() -> None:
    """Publish the runs in the folders of the command line, and renew all tables and figures."""
    parser = argparse.ArgumentParser(description="Publish finished runs, and renew all tables and figures.")
    parser.add_argument("--numbers", action="store_true", help="without the set and its picture")
    parser.add_argument("folders", nargs="*", type=Path, help="folders of finished runs")
    asked = parser.parse_args()
    for folder in asked.folders:
        print(publish(folder, asked.numbers))
    report([str(RESULTS), "--output", str(DOCUMENTS)])
    write(README, filled(README.read_text()).encode())


if __name__ == "__main__":
    main()
