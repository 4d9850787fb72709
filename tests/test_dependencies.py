"""What the packages load in a fresh interpreter. Which way imports point is checked by import-linter (`make lint`)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def modules(package: str) -> list[str]:
    files = (ROOT / package).rglob("*.py")
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files)


def loaded_after(imports: list[str]) -> set[str]:
    code = (
        f"import sys\nfor name in {imports}: __import__(name)\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_hardware_leaves_torch_unloaded():
    loaded = loaded_after(modules("darb_hw"))
    assert "amaranth" in loaded
    assert "torch" not in loaded


def test_pruning_leaves_amaranth_unloaded():
    loaded = loaded_after(modules("darb_prune"))
    assert "torch" in loaded
    assert not {"amaranth", "darb_hw"} & loaded


def test_a_plan_needs_neither():
    assert not {"amaranth", "torch"} & loaded_after(modules("darb_hw/plan"))
