"""The docs become a site without a broken link, and name files, targets and names of the faces that exist."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FACES = ("darb_prune", "darb_hw", "darb_prune.encoded")
FOLDERS = ("darb_prune", "darb_hw", "sim", "benchmarks", "tests", "examples", "constraints", "docs")
TREE = [
    str(path.relative_to(ROOT))
    for path in [*ROOT.iterdir(), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
]
WRITTEN = re.compile(r"(build|runs|rom|vectors|synth|dist)/|engine\.v|primitives\.v|FAMILY|DEVICE|BOARD")
"""Files that commands write, and placeholders."""


pytestmark = pytest.mark.xdist_group("docs")  # the site is built once


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_the_site_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"?(https?:[^\"\s>]*)", page.read_text())
        assert loaded == [], page


def test_every_name_of_the_faces_is_in_the_reference(site):
    anchors = {
        anchor for page in (site / "api").glob("*.html") for anchor in re.findall(r'id="([\w.]+)"', page.read_text())
    }
    for face in FACES:
        module = importlib.import_module(face)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert f"{value.__module__}.{value.__qualname__}" in anchors, f"{face}.{name}"


def test_roles_of_docstrings_are_code(site):
    for page in (site / "api").glob("*.html"):
        assert not re.search(r":(attr|class|data|exc|func|meth|mod):", page.read_text()), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_named_in_the_text_exist(page):
    for name in re.findall(r"`([\w./-]+\.(?:py|v|cpp|vlt|toml|lock|lpf|pcf|ipynb))`", page.read_text()):
        if not WRITTEN.match(
            name.removeprefix("darb_hw/device/").removeprefix("constraints/").removeprefix("sim/cells/")
        ):
            assert any(f"/{file}".endswith(f"/{name}") for file in TREE), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_targets_named_in_the_text_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^    )make (\w+)", page.read_text(), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_architecture_names_every_file():
    text = (ROOT / "docs" / "architecture.md").read_text()
    files = [file for file in TREE if re.match(r"(darb_prune|darb_hw|sim)/.*\.(py|v|cpp)$", file)]
    files = [file for file in files if not re.search(r"__init__|darb_prune/tasks/|sim/cells/", file)]
    assert len(files) > 100
    assert [file for file in files if f"{Path(file).name}`" not in text] == []
