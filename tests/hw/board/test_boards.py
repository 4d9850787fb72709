"""Boards: their definitions have what is asked of them, and constraints say the same."""

import re

import pytest

from darb_hw.board.boards import BOARDS, board_named
from darb_hw.board.pins import clock_mhz_of, constraints_text, pins_of
from darb_hw.board.pll import fastest_pll
from darb_hw.config import DEVICES
from darb_prune.encoded import DarbError

# From the schematics and manuals of the makers, not from the definitions.
KNOWN = {
    "icebreaker": (12, {"clock": "35", "rx": "6", "tx": "9", "button": "10"}),
    "icesugar": (12, {"clock": "35", "rx": "4", "tx": "6"}),
    "ice40-hx8k-b-evn": (12, {"clock": "J3", "rx": "B10", "tx": "B12"}),
    "ulx3s-25f": (25, {"clock": "G2", "rx": "M1", "tx": "L4", "button": "R1"}),
    "ulx3s-85f": (25, {"clock": "G2", "rx": "M1", "tx": "L4", "button": "R1"}),
    "orangecrab-25f": (48, {"clock": "A9", "rx": "N17", "tx": "M18", "button": "J17"}),
    "colorlight-i5": (25, {"clock": "P3", "rx": "H18", "tx": "J17", "button": "K18"}),
}


def test_all_boards_are_known():
    assert KNOWN.keys() == BOARDS.keys()


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_pins(board):
    clock, known = KNOWN[board.name]
    pins = pins_of(board)
    assert clock_mhz_of(board) == clock
    assert {port: pin.name for port, pin in pins.items() if port in known} == known
    assert "ready" in pins
    assert ("button" in pins) == ("button" in known)
    names = [pin.name for pin in pins.values()]
    assert len(set(names)) == len(names)
    assert fastest_pll(board.pll, clock, DEVICES[board.device].target_mhz).mhz > 50


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_constraints_name_every_port(board):
    pins, family = pins_of(board), DEVICES[board.device].family
    text = constraints_text(family, pins, clock_mhz_of(board))
    pattern = r"set_io (?:-pullup yes )?(\w+) (\w+)" if family == "ice40" else r'LOCATE COMP "(\w+)" SITE "(\w+)";'
    assert dict(re.findall(pattern, text)) == {port: pin.name for port, pin in pins.items()}
    assert re.search(rf'(set_frequency clock|FREQUENCY PORT "clock") {clock_mhz_of(board):g}\b', text)


def test_an_unknown_board_is_refused():
    with pytest.raises(DarbError, match="unknown board 'arty': choose one of icebreaker, icesugar"):
        board_named("arty")
