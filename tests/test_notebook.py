"""The notebook in examples/ runs as it stands, in a kernel of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest import mock

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "distill_your_own.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_notebook_runs_and_the_images_train_the_network(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # Where other cores are busy, several threads wait for each other.
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}):
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"distilling: \d+ of 300, \d+ s left, loss [\d.]+", text)
    share = re.search(r"([\d.]+)% of all 1,797 digits", text)
    assert share is not None
    assert float(share[1]) > 80
    assert any("image/png" in output.get("data", {}) for output in outputs)
