"""The programs in benchmarks/ that are more than a measurement."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_runs
from support.experiments import TINY
from support.waiting import eventually

LIST = f"""
# two runs
one {" ".join(TINY)} architecture=linear outer.steps=300 trainer.checkpoint_seconds=0  # the first
two {" ".join(TINY)} architecture=linear outer.learning_rate=-1
"""


def test_the_lines_of_a_list() -> None:
    one, two = gpu_runs.entries("a x=1 'y=[1, 2]' # b z=3\n\nb z=3\n")
    assert one == ("a", ["x=1", "y=[1, 2]"])
    assert gpu_runs.command(two, Path("new"))[1:] == ["z=3", "hydra.run.dir=new"]
    for odd in ("a", "x=1 y=2", "a x=1\na x=2"):
        with pytest.raises(ValueError, match="each line is a name of its own"):
            gpu_runs.entries(odd)


class InTime(subprocess.Popen[bytes]):
    """A process whose time is up when its first checkpoint is there."""

    def wait(self, timeout: float | None = None) -> int:
        if timeout is None:
            return super().wait()
        folder = Path(self.args[-1].rpartition("=")[2])  # type: ignore[index]
        eventually(lambda: any(folder.glob("checkpoints/step_*.ckpt")))
        raise subprocess.TimeoutExpired(self.args, timeout)


@pytest.mark.slow
def test_a_run_goes_on_in_the_next_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = gpu_runs.entries(LIST)
    assert gpu_runs.slot(runs, tmp_path, 0) == 75
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", InTime)
        assert gpu_runs.slot(runs[:1], tmp_path, 60) == 75
    assert capfd.readouterr().out.splitlines() == ["one: missing", "two: missing", "one: interrupted"]
    assert gpu_runs.slot(runs[:1], tmp_path, 600) == 0
    assert "resuming after outer step" in capfd.readouterr().err
    assert gpu_runs.slot(runs, tmp_path, 600) == 2  # the second one is refused
    assert [gpu_runs.state(tmp_path / name) for name in ("one", "two")] == ["finished", "missing"]


@pytest.mark.slow
def test_the_rows_of_a_device_agree_and_are_shares_of_its_peak(capsys: pytest.CaptureFixture[str]) -> None:
    """On the CPU; a device is a parameter of all that runs."""
    small = "--width 4 --images 10 --inner-steps 3 --window 2 --batch 20 --repeats 1"
    gpu.main(["--device", "cpu", *small.split()])
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    cells = {line[1].strip(): [cell.strip() for cell in line[2:-1]] for line in lines}
    assert set(cells) == {
        f"{engine}, {dtype}"
        for engine in ("truncated", "truncated, stored", "recompute", "recompute, offload")
        for dtype in ("float32", "bfloat16")
    }
    assert all(0 < float(share.rstrip("%")) < 100 for *_, share, _, _ in cells.values())
    assert cells["truncated, float32"][1] == cells["recompute, float32"][1] == "1.00"


def test_operations_are_counted() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert gpu.operations(lambda: a @ b) == 2 * 3 * 5 * 7
