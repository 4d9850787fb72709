import sys
from pathlib import Path

import pytest


@pytest.fixture
def script(monkeypatch):
    """Imports a script of ``benchmarks/``, which finds its neighbours as when it is run."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    before = set(sys.modules)
    yield lambda name: __import__(name)
    for name in ("networks", "networks_page", "keywords"):
        if name not in before:
            sys.modules.pop(name, None)
