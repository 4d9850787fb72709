"""Place and route when a router goes round in circles: a stand-in for nextpnr writes the logs that it writes then."""

import json
import sys
from types import SimpleNamespace

import pytest

from darb_hw.config import DEVICES
from darb_hw.errors import ToolError
from darb_hw.synthesis import route

STAND_IN = """
import json, sys, time
from pathlib import Path

option = lambda name: sys.argv[sys.argv.index(name) + 1]
stuck = option("--router") in {stuck}
line = "Info: {{:>10}} | {{:>8}} {{:>10}} | 1000     0 |{{:>10}}|       0.08     336.71|"
lines = []
for number in range(1, 141):
    routed = min(number, 20) if stuck else number
    lines.append(line.format(1000 * number, 1000 * number - routed, routed, 4318 - routed))
Path(option("--log")).write_text("\\n".join(lines) + "\\n")
if stuck:
    time.sleep(60)
Path(option("--report")).write_text(json.dumps({{"router": option("--router")}}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Route with a stand-in that does not end with some routers."""
    monkeypatch.setattr(route, "_LOOK_SECONDS", 0.2)
    (tmp_path / "synth").mkdir()

    def run(stuck: set[str]):
        script = tmp_path / "nextpnr.py"
        script.write_text(STAND_IN.format(stuck=stuck or "()"))
        tool = SimpleNamespace(name="nextpnr-ice40", command=(sys.executable, str(script)))
        route.route(tool, tmp_path, DEVICES["ice40-hx8k"], "engine", 4, False)
        return json.loads(route.seed_file(tmp_path, 4).read_text())

    return run


def test_the_first_router_is_asked_first(run):
    assert run(set()) == {"router": "router1"}


def test_a_router_that_does_not_get_on_is_replaced(run, tmp_path):
    assert run({"router1"}) == {"router": "router2"}
    assert not (tmp_path / "synth" / "seed-4.part").exists()


def test_no_router_gets_on(run, tmp_path):
    with pytest.raises(ToolError, match=r"^nextpnr-ice40 does not get on with seed 4 on ice40-hx8k \(see .*\): leave"):
        run({"router1", "router2"})
    assert not route.seed_file(tmp_path, 4).exists()


def test_clock_of_the_engine():
    assert route._clock(["$glbnet$clk$TRELLIS_IO_IN"]) == "$glbnet$clk$TRELLIS_IO_IN"
    assert route._clock(["other$x", "clk$SB_IO_IN_$glb_clk"]) == "clk$SB_IO_IN_$glb_clk"
    with pytest.raises(ToolError, match="reports the clocks none"):
        route._clock([])
