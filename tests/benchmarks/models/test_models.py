"""What becomes of models that people bring."""

import pytest
from torch import nn

from benchmarks.models import page
from benchmarks.models.brought import BroughtModel, vectors
from benchmarks.models.measure import CANDIDATES, measure

ENGINE = {"weights": 20, "kept": 10, "cycles": 30, "distance": 0.01, "mismatch": None}


def test_there_are_sixty_and_more():
    assert len(CANDIDATES) >= 60


@pytest.mark.simulator
def test_a_refused_model_is_mended_and_simulated():
    result = measure(CANDIDATES["layer norm"])
    assert result["mended"]
    (problem,) = result["problems"]
    assert "replace it by BatchNorm1d" in problem
    assert result["engine"]["mismatch"] is None
    assert result["engine"]["kept"] * 2 <= result["engine"]["weights"]
    assert result["engine"]["distance"] < 0.2


def test_remedies_that_do_not_help_are_failures():
    def made() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))

    for mended, wrong in ((None, "nothing is known that helps"), (made, "refused when mended")):
        result = measure(BroughtModel("norm", made, vectors(4), mended))
        assert wrong in result["wrong"]
        assert page.failed(result)
        assert page.verdict(result) == result["wrong"]


def test_page(tmp_path):
    exact = {"kind": "MLP", "problems": [], "mended": False, "engine": ENGINE}
    results = {
        "one": exact,
        "two": exact | {"problems": ["norm: no; replace it"], "mended": True},
        "three": {"kind": "MLP", "problems": [], "mended": False, "wrong": "refused later"},
        "four": exact | {"engine": ENGINE | {"mismatch": "cycle 3: 1 for 2"}},
    }
    assert [page.failed(result) for result in results.values()] == [False, False, True, True]
    page.write(results, tmp_path / "models.md")
    text = (tmp_path / "models.md").read_text()
    assert "## Accepted: 2" in text
    assert "| one | MLP | exact | 20 | 10 | 30 | 0.010 |" in text
    assert "| four | MLP | cycle 3: 1 for 2 |" in text
    assert "| two | MLP | norm: no; replace it | exact |" in text
    assert "- three: refused later" in text
