"""Which way imports point: hardware knows of pruning only the encoded network; neither loads the other's tools."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def modules(package: str) -> list[str]:
    files = (ROOT / package).rglob("*.py")
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    return sorted(names)


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
    assert not {"amaranth", "torch"} & loaded_after(["darb_hw.plan", "darb_hw.schedule", "darb_hw.config"])


def imports_of(path: Path, root: Path = ROOT) -> set[str]:
    """Modules that a file imports, also written ``from package import module`` or relative to the file."""
    names, parts = set(), path.relative_to(root).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def test_every_way_to_import_is_seen(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = tmp_path / "a" / "b" / "c.py"
    path.write_text("import x.y\nfrom a import d\nfrom . import e\nfrom ..f import g\n")
    assert imports_of(path, tmp_path) == {"x.y", "a", "a.d", "a.b", "a.b.e", "a.f", "a.f.g"}


@pytest.mark.parametrize("path", sorted((ROOT / "darb_hw").rglob("*.py")), ids=str)
def test_hardware_imports_only_the_encoded_network(path):
    foreign = {name for name in imports_of(path) if name.split(".")[0] in ("darb_prune", "sim", "torch")}
    assert all(f"{name}.".startswith("darb_prune.encoded.") for name in foreign), foreign


@pytest.mark.parametrize("path", sorted((ROOT / "darb_prune").rglob("*.py")), ids=str)
def test_pruning_imports_no_hardware(path):
    assert not {name for name in imports_of(path) if name.split(".")[0] in ("darb_hw", "sim", "amaranth")}


def test_no_import_cycles():
    """Imports between the files of a package form no cycle."""
    for package in ("darb_prune", "darb_hw", "sim"):
        names = modules(package)
        graph = {}
        for name in names:
            path = ROOT / Path(*name.split("."))
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            graph[name] = {other for other in imports_of(path) if other in names and other != name}
        done = set()
        while len(done) < len(graph):
            free = {name for name in graph if name not in done and graph[name] <= done}
            assert free, f"cycle among {sorted(set(graph) - done)}"
            done |= free
