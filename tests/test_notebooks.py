"""The notebooks of examples/ run from their first cell to their last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MARKS = {"module_to_verilog": [pytest.mark.simulator]}
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def run(path: Path, folder: Path) -> str:
    """What the cells print, those that draw included."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text") or output["data"].get("text/plain", "") for output in outputs)


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=MARKS.get(path.stem, []), id=path.stem) for path in NOTEBOOKS]
)
def test_notebook(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # builds go there
    printed = run(path, tmp_path)
    if path.stem == "patterns":
        assert "<Figure" in printed
    else:
        assert "Verilator: 360 images, 3600 elements" in printed
        assert "Icarus: 3 images" in printed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_without_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
