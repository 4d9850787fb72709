"""The example of the documentation runs as it is."""

import runpy
from pathlib import Path

from darb_prune.encoded import EncodedNetwork

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model.py"


def test_own_model(tmp_path, capsys):
    runpy.run_path(str(EXAMPLE))["main"](str(tmp_path / "net.darb"))
    network = EncodedNetwork.load(tmp_path / "net.darb")
    assert [layer.name for layer in network.layers] == ["hidden", "head"]
    assert network.weights / network.kept >= 8
    lines = capsys.readouterr().out.split()
    assert float(lines[lines.index("integer") + 1]) > 0.92
