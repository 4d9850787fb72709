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
    **{f"ulx3s-{size}f": (25, {"clock": "G2", "rx": "M1", "tx": "L4", "button": "R1"}) for size in (12, 25, 45, 85)},
    "orangecrab-25f": (48, {"clock": "A9", "rx": "N17", "tx": "M18", "button": "J17"}),
    "colorlight-i5": (25, {"clock": "P3", "rx": "H18", "tx": "J17", "button": "K18"}),
    "tang-nano-9k": (27, {"clock": "52", "rx": "18", "tx": "17", "button": "4", "ready": "10"}),
    "tang-nano-20k": (27, {"clock": "4", "rx": "70", "tx": "69", "button": "88", "ready": "15"}),
    "tang-primer-20k": (27, {"clock": "H11", "rx": "T13", "tx": "M11", "button": "T10", "ready": "C13"}),
}

# Of SPI: PMOD 1A as Digilent numbers it; J1 with GP0 to GP3.
SPI = {
    "icebreaker": {"cs": "4", "copi": "2", "cipo": "47", "sck": "45"},
    **{f"ulx3s-{size}f": {"cs": "B11", "copi": "A10", "cipo": "A9", "sck": "B9"} for size in (12, 25, 45, 85)},
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
    target = DEVICES[board.device]
    assert fastest_pll(board.pll, clock, target.target_mhz, target.chip).mhz > 50


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_pins_of_spi(board):
    """In place of those of the UART, and of no other port. Nobody selects a board that is not connected."""
    if board.name not in SPI:
        with pytest.raises(DarbError, match=rf"--link spi: not on this board, {board.title}: choose one of uart$"):
            pins_of(board, "spi")
        return
    pins, uart = pins_of(board, "spi"), pins_of(board)
    assert {port: pins[port].name for port in SPI[board.name]} == SPI[board.name]
    assert pins["cs"].inverted
    assert (pins["cs"].attributes.get("PULLUP"), pins["cs"].attributes.get("PULLMODE")) in ((1, None), (None, "UP"))
    assert pins.keys() - SPI[board.name].keys() == uart.keys() - {"rx", "tx"}
    names = [pin.name for pin in (*pins.values(), uart["rx"], uart["tx"])]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("board", "link"), [(board, link) for board in BOARDS.values() for link in board.bauds])
def test_constraints_name_every_port(board, link):
    pins, family = pins_of(board, link), DEVICES[board.device].family
    text = constraints_text(family, pins, clock_mhz_of(board))
    pattern = {
        "ice40": r"set_io (?:-pullup yes )?(\w+) (\w+)", "ecp5": r'LOCATE COMP "(\w+)" SITE "(\w+)";',
        "gowin": r'IO_LOC "(\w+)" (\w+);',
    }[family]  # fmt: skip
    assert dict(re.findall(pattern, text)) == {port: pin.name for port, pin in pins.items()}
    clocks = dict(re.findall(r'(?:set_frequency |FREQUENCY PORT ")(\w+)"? (\S+)', text))
    if family == "gowin":  # whose constraints have no clocks
        assert re.findall(r'IO_PORT "(\w+)" .*IO_TYPE=LVCMOS(?:33|18)\b.*;', text) == list(pins)
        assert not clocks
    else:
        assert clocks == dict.fromkeys(["clock", "sck"] if link == "spi" else ["clock"], f"{clock_mhz_of(board):g}")


def test_an_unknown_board_is_refused():
    with pytest.raises(DarbError, match="unknown board 'arty': choose one of icebreaker, icesugar"):
        board_named("arty")
