"""The tutorial runs from top to bottom, and says what its text says."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


@pytest.mark.slow
def test_the_tutorial_runs():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, 4)
    nbclient.NotebookClient(notebook, timeout=250, kernel_name="python3").execute()  # raises where a cell does
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    texts = ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]
    assert "clean accuracy" in texts[0] and "that the network now calls" in texts[1]
    assert "hardening gains" in texts[-1] and "keeps" in texts[-1] and "too weak" in texts[-1]
