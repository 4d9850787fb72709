"""Place and route when a router goes round in circles: a stand-in for nextpnr writes the logs that it writes then."""

import json
import sys

import pytest

from darb_hw.config import DEVICES
from darb_hw.errors import ToolError
from darb_hw.synthesis import route, tools
from darb_hw.synthesis.tools import Tool

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
if option("--router") == "router2":
    left = [4 if stuck else 700 - number for number in range(1, 601)]
    lines = [f"Info:     iter={{i}} wires=48878 overused={{n}} overuse={{n}} archfail=NA" for i, n in enumerate(left)]
Path(option("--log")).write_text("\\n".join(lines) + "\\n")
if stuck:
    time.sleep(60)
Path(option("--report")).write_text(json.dumps({{"router": option("--router")}}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Route with a stand-in that does not end with some routers."""
    monkeypatch.setattr(route, "_LOOK_SECONDS", 0.2)

    def run(stuck: set[str]):
        script = tmp_path / "nextpnr.py"
        script.write_text(STAND_IN.format(stuck=stuck or "()"))
        tool = Tool("nextpnr-ice40", (sys.executable, str(script)), "1")
        monkeypatch.setattr(tools, "nextpnr", lambda family: tool)
        return route.route_of(tool, DEVICES["ice40-hx8k"], "engine", 4, b"{}", None, "an engine").done()

    return run


def test_the_first_router_is_asked_first(run):
    entry = run(set())
    assert json.loads(entry.files["report.json"]) == {"router": "router1"}
    assert entry.files["nextpnr.log"].count(b"Info") == 140


def test_a_router_that_does_not_get_on_is_replaced(run):
    assert json.loads(run({"router1"}).files["report.json"]) == {"router": "router2"}


def test_no_router_gets_on(run):
    """That is a fact of the netlist, and its log is kept."""
    entry = run({"router1", "router2"})
    assert entry.failure == "nextpnr-ice40 does not get on with seed 4: leave it out"
    assert entry.files.keys() == {"nextpnr.log"}


def test_another_version_is_refused(run, monkeypatch):
    run(set())
    job = route.route_of(tools.nextpnr("ice40"), DEVICES["ice40-hx8k"], "engine", 4, b"{}", None, "an engine")
    monkeypatch.setattr(tools, "nextpnr", lambda family: Tool("nextpnr-ice40", (), "2"))
    with pytest.raises(ToolError, match=r"^a worker has nextpnr-ice40 2, this sweep 1: install the same"):
        job.done()


def test_clock_of_the_engine():
    assert route._clock(["$glbnet$clk$TRELLIS_IO_IN"]) == "$glbnet$clk$TRELLIS_IO_IN"
    assert route._clock(["other$x", "clk$SB_IO_IN_$glb_clk"]) == "clk$SB_IO_IN_$glb_clk"
    with pytest.raises(ToolError, match="reports the clocks none"):
        route._clock([])
