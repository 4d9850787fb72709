"""Files of constraints/ against the devices of the package and against independent descriptions of the boards."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from darb_hw.config import DEVICES
from darb_hw.synthesis.boards import BOARDS, SUFFIX, constraints_file
from darb_prune.encoded import DarbError

FOLDER = Path(__file__).parents[3] / "constraints"
PLATFORMS = {
    "icebreaker": ("icebreaker", "ICEBreakerPlatform"),
    "ice40-hx8k-b-evn": ("ice40_hx8k_b_evn", "ICE40HX8KBEVNPlatform"),
    "ulx3s-12f": ("ulx3s", "ULX3S_12F_Platform"),
    "ulx3s-25f": ("ulx3s", "ULX3S_25F_Platform"),
    "ulx3s-45f": ("ulx3s", "ULX3S_45F_Platform"),
    "ulx3s-85f": ("ulx3s", "ULX3S_85F_Platform"),
}
# nextpnr's options for each device and package as the platforms name them.
PARTS = {
    ("iCE40UP5K", "SG48"): ("--up5k", "sg48"),
    ("iCE40HX8K", "CT256"): ("--hx8k", "ct256"),
    ("LFE5U-12F", "BG381"): ("--12k", "CABGA381"),
    ("LFE5U-25F", "BG381"): ("--25k", "CABGA381"),
    ("LFE5U-45F", "BG381"): ("--45k", "CABGA381"),
    ("LFE5U-85F", "BG381"): ("--85k", "CABGA381"),
}


def pins(text: str) -> dict[str, str]:
    """Port -> pin, of any format."""
    found = re.findall(r"^set_io (?:-\S+ \S+ )*(\S+) (\S+)$", text, re.MULTILINE)
    found += re.findall(r'^IO_LOC "(\S+)" (\S+);$', text, re.MULTILINE)
    at = re.findall(r"^ldc_set_location -site \{(\S+)\} \[get_ports \{(\S+)\}\]$", text, re.MULTILINE)
    found += [(port, pin) for pin, port in at]
    return dict(found + re.findall(r'^LOCATE COMP "(\S+)" SITE "(\S+)";$', text, re.MULTILINE))


def platform_of(board: str):
    module, name = PLATFORMS[board]
    return getattr(import_module(f"amaranth_boards.{module}"), name)()


def pin_of(platform, ios) -> str:
    (name,) = ios.names
    connectors = {f"{c.name}_{c.number}": c.mapping for c in platform.connectors.values()}
    connector, _, number = name.rpartition(":")
    return connectors[connector][number] if connector else name


def test_every_file_is_known():
    names = {path.stem for path in FOLDER.iterdir() if path.suffix in SUFFIX.values()}
    assert names == set(DEVICES) | set(BOARDS)
    assert set(BOARDS) == set(PLATFORMS)


@pytest.mark.parametrize("name", DEVICES)
def test_timing_is_that_of_the_device(name):
    text = constraints_file(DEVICES[name]).read_text()
    if DEVICES[name].needs_pins:
        # There is no frequency in these files, and one pin at least must be in them.
        assert pins(text).keys() == {"clk"}
        return
    frequency = re.findall(r'^(?:set_frequency clk|FREQUENCY PORT "clk") (\S+)(?: MHZ;)?$', text, re.MULTILINE)
    assert [float(mhz) for mhz in frequency] == [DEVICES[name].target_mhz]
    assert not pins(text)


@pytest.mark.parametrize("board", BOARDS)
def test_board_has_the_device_and_the_clock_pin(board):
    platform, device = platform_of(board), DEVICES[BOARDS[board]]
    option, package = PARTS[platform.device, platform.package]
    assert option in device.nextpnr
    assert device.nextpnr[device.nextpnr.index("--package") + 1] == package
    if device.family == "ecp5":
        assert device.nextpnr[device.nextpnr.index("--speed") + 1] == platform.speed
    text = constraints_file(device, board).read_text()
    clock = platform.lookup(platform.default_clk)
    assert pins(text)["clk"] == pin_of(platform, clock.ios[0])
    assert f"{clock.clock.frequency / 1e6:g} MHz oscillator" in text


@pytest.mark.parametrize(
    ("board", "button"), [("icebreaker", 1), *((f"ulx3s-{size}f", 0) for size in (12, 25, 45, 85))]
)
def test_reset_is_a_button_that_is_high_while_pressed(board, button):
    platform = platform_of(board)
    if board == "icebreaker":
        platform.add_resources(platform.break_off_pmod)
    resource = platform.lookup("button" if board == "icebreaker" else "button_fire", button)
    text = constraints_file(DEVICES[BOARDS[board]], board).read_text()
    assert pins(text)["rst"] == pin_of(platform, resource.ios[0])
    assert not resource.ios[0].invert


def test_board_without_a_button_leaves_reset_alone():
    assert "rst" not in pins(constraints_file(DEVICES["ice40-hx8k"], "ice40-hx8k-b-evn").read_text())


@pytest.mark.parametrize(
    ("device", "board", "message"),
    [
        ("ecp5-85k", "icebreaker", "board icebreaker carries ice40-up5k, the build is for ecp5-85k"),
        ("ice40-up5k", "icestorm", "unknown board 'icestorm': choose one of icebreaker"),
        ("ice40-up5k", "mine.lpf", r"mine.lpf: ice40-up5k takes .pcf files"),
        ("ice40-up5k", "mine.pcf", "mine.pcf: no such file"),
        ("gw2a-18", "mine.pcf", r"mine.pcf: gw2a-18 takes .cst files"),
        ("lifcl-40", "mine.lpf", r"mine.lpf: lifcl-40 takes .pdc files"),
    ],
)
def test_wrong_board(device, board, message):
    with pytest.raises(DarbError, match=message):
        constraints_file(DEVICES[device], board)


def test_own_file(tmp_path):
    path = tmp_path / "mine.pcf"
    path.write_text("set_io clk 35\n")
    assert constraints_file(DEVICES["ice40-up5k"], str(path)) == path


def test_package_without_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("darb_hw.synthesis.boards._CONSTRAINTS", tmp_path)
    assert constraints_file(DEVICES["ice40-up5k"]) is None
    with pytest.raises(DarbError, match=r"gw2a-18.cst: no such file; name a .cst file with a pin for clk"):
        constraints_file(DEVICES["gw2a-18"])
    with pytest.raises(DarbError, match=r"no such file; name a .pcf file with the pins of your board"):
        constraints_file(DEVICES["ice40-up5k"], "icebreaker")
