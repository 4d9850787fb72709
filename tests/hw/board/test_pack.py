"""Layouts to bitstreams, for real. (Those of other families are made where boards and commands are tested.)"""

import subprocess

import pytest

from darb_hw.board.boards import board_named
from darb_hw.board.pack import BITSTREAM, Pack, packing_of
from darb_hw.config import DEVICES
from darb_hw.synthesis import tools
from darb_hw.synthesis.route import LAYOUT, route_of
from darb_hw.synthesis.yosys import yosys_script

COUNTER = "module top(input clk, output reg o); always @(posedge clk) o <= !o; endmodule\n"
PINS = b'IO_LOC "clk" 52;\nIO_LOC "o" 10;\nIO_PORT "o" IO_TYPE=LVCMOS18;\n'


def test_options_name_the_chip_and_free_pins():
    board = board_named("tang-nano-9k")
    assert packing_of(DEVICES[board.device], board) == (
        "--compress", "-d", "GW1N-9C", "--sspi_as_gpio", "--mspi_as_gpio",
    )  # fmt: skip
    board = board_named("icebreaker")
    assert packing_of(DEVICES[board.device], board) == ()


@pytest.mark.synthesis
def test_a_bitstream_of_gowin_is_for_its_chip(tmp_path):
    board = board_named("tang-nano-9k")
    device = DEVICES[board.device]
    (tmp_path / "top.v").write_text(COUNTER)
    (tmp_path / "run.ys").write_text(yosys_script(device, "top", "top.v", None, True, pins=True))
    subprocess.run([*tools.yosys().command, "-s", "run.ys"], cwd=tmp_path, check=True, capture_output=True)
    netlist = (tmp_path / "design.json").read_bytes()
    placed = route_of(tools.nextpnr("gowin"), device, "top", 1, netlist, PINS, "a counter", whole=True).done()
    assert not placed.failure
    layout = {LAYOUT["gowin"]: placed.files[LAYOUT["gowin"]]}
    packed = Pack(layout, "gowin", packing_of(device, board), tools.packer("gowin").version, "a counter").done()
    assert not packed.failure
    lines = packed.files[BITSTREAM["gowin"]].decode().split()
    code = f"{0x1100481B:032b}"  # of a GW1N-9, which the device compares with its own
    assert any(code in line for line in lines[:8])
    assert len(lines) > 700
