"""Place and route, with programs that stand for the tools."""

import json
import sys

import pytest

from benchmarks.peers import place
from darb_hw.config import DEVICES
from darb_hw.synthesis import tools

YOSYS = """
import json, sys, time
from pathlib import Path
cells = json.loads(Path("wanted.json").read_text())
forever = cells.pop("forever", 0)
while forever: pass
Path("cells.json").write_text(json.dumps({"design": {"num_cells_by_type": cells}}))
with open("calls", "a") as calls: calls.write("yosys ")
"""
NEXTPNR = """
import json, sys
from pathlib import Path
seed = int(sys.argv[sys.argv.index("--seed") + 1])
while seed == 3: pass
clock = {"achieved": 100 + seed / 2}
Path("part.json").write_text(json.dumps({"fmax": {"$glbnet$clk": clock}}))
with open("calls", "a") as calls: calls.write(f"{seed} ")
"""
DESIGN = {"top": "peer", "clock": "clk", "sources": ["peer.v"]}


@pytest.fixture
def placed(tmp_path, monkeypatch):
    """Places a design of such cells; gives the result and what was called."""
    for name, text in (("yosys", YOSYS), ("nextpnr", NEXTPNR)):
        (tmp_path / f"{name}.py").write_text(text)
        tool = tools.Tool(name, (sys.executable, str(tmp_path / f"{name}.py")), "1")
        monkeypatch.setattr(tools, name, lambda *_, tool=tool: tool)

    def run(seeds, verilog="module", **cells):
        (tmp_path / "peer.v").write_text(verilog)
        (tmp_path / "wanted.json").write_text(json.dumps(cells))
        (tmp_path / "calls").write_text("")
        found = place.place(tmp_path, DESIGN, DEVICES["ecp5-85k"], seeds, 0.02, lambda step: None)
        return found, (tmp_path / "calls").read_text().split()

    return run


def test_place(placed):
    found, calls = placed((1, 2), LUT4=10, CCU2C=3, TRELLIS_FF=7, MULT18X18D=2, DP16KD=4)
    assert calls == ["yosys", "1", "2"]
    assert found == {
        "luts": 16, "ffs": 7, "dsps": 2, "block_rams": 4, "fmax_mhz": {"1": 100.5, "2": 101.0},
        "tools": {"yosys": "1", "nextpnr": "1"},
    }  # fmt: skip
    assert placed((1, 2, 4))[1] == ["4"]  # the others are there
    assert placed((1,), verilog="another")[1] == ["yosys", "1"]


def test_place_what_is_too_large(placed):
    found, calls = placed((1,), LUT4=10, TRELLIS_FF=90_000, MULT18X18D=157)
    assert calls == ["yosys"]
    assert found["reason"] == "does not fit: too many ffs, dsps"
    assert found["too_large"]
    assert found["luts"] == 10


def test_place_stops(placed):
    found, calls = placed((1, 3, 4), LUT4=10)
    assert calls == ["yosys", "1"]
    assert found["reason"] == "nextpnr did not finish in 0.02 minutes of processor time"
    assert found["fmax_mhz"] == {"1": 100.5}
    assert "too_large" not in found
    found, calls = placed((1,), verilog="endless", forever=1)
    assert found["reason"].startswith("Yosys did not finish")
    assert found["too_large"]
    assert not calls
