"""Loops: the settings give the clock they say, no faster one is allowed, and other calculators agree."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.board.pll import fastest_pll
from darb_prune.encoded import DarbError

ICE40, ECP5 = "SB_PLL40_CORE", "EHXPLLL"
GOWIN = {"GW1N-9C": ("GW1NR-9 C6/I5", 400, 1200), "GW2A-18C": ("GW2A-18 C8/I7", 500, 1250)}
"""Chip: what gowin_pll calls it, the slowest and the fastest that its loop runs at, MHz."""


def program_named(name: str) -> str:
    """A native one, or that which stands beside the interpreter."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name) or shutil.which(f"yowasp-{name}", path=beside)


def made(primitive: str, clock: float, parameters) -> float:
    """MHz that follow from settings."""
    if primitive == ECP5:
        return clock * parameters["CLKFB_DIV"] / parameters["CLKI_DIV"]
    return clock * (parameters["DIVF"] + 1) / (2 ** parameters["DIVQ"] * (parameters["DIVR"] + 1))


@given(st.sampled_from([ICE40, ECP5]), st.sampled_from([12.0, 16.0, 25.0, 27.0, 48.0, 100.0]), st.floats(17.0, 260.0))
def test_the_clock_is_as_fast_as_it_may_be(primitive, clock, limit):
    pll = fastest_pll(primitive, clock, limit)
    assert pll.mhz == pytest.approx(made(primitive, clock, pll.parameters))
    # Steps are smaller than this, whatever the clock.
    assert 0.9 * limit < pll.mhz <= limit
    if primitive == ECP5:
        assert 400 <= pll.mhz * pll.parameters["CLKOP_DIV"] <= 800
    else:
        assert 533 <= pll.mhz * 2 ** pll.parameters["DIVQ"] <= 1066


@pytest.mark.synthesis
@pytest.mark.parametrize("limit", [20.0, 39.9, 56.4, 61.0])
def test_icepll_finds_no_faster_clock(limit):
    """It looks for the nearest one; ours, asked of it, comes out with the same settings."""
    pll = fastest_pll(ICE40, 12.0, limit)
    program = program_named("icepll")
    said = subprocess.run([program, "-i", "12", "-o", str(pll.mhz)], capture_output=True, text=True, check=True).stdout
    told = {name: int(re.search(rf"{name}: +(\d+)", said)[1]) for name in ("DIVR", "DIVF", "DIVQ", "FILTER_RANGE")}
    assert made(ICE40, 12.0, told) == pytest.approx(pll.mhz)
    assert told["FILTER_RANGE"] == pll.parameters["FILTER_RANGE"]


@pytest.mark.synthesis
@pytest.mark.parametrize("limit", [60.0, 150.0, 203.5])
def test_ecppll_makes_the_same_clock(limit):
    pll = fastest_pll(ECP5, 25.0, limit)
    program = program_named("ecppll")
    said = subprocess.run([program, "-i", "25", "-o", str(pll.mhz)], capture_output=True, text=True, check=True).stdout
    assert float(re.search(r"clkout0 frequency: ([\d.]+)", said)[1]) == pytest.approx(pll.mhz)


@given(st.sampled_from(list(GOWIN)), st.sampled_from([12.0, 27.0, 50.0]), st.floats(17.0, 400.0))
def test_the_clock_of_gowin_is_as_fast_as_it_may_be(chip, clock, limit):
    pll = fastest_pll("rPLL", clock, limit, chip)
    settings, (_, slowest, fastest) = pll.parameters, GOWIN[chip]
    assert pll.mhz == pytest.approx(clock * (settings["FBDIV_SEL"] + 1) / (settings["IDIV_SEL"] + 1))
    assert 0.8 * limit < pll.mhz <= limit
    assert slowest <= pll.mhz * settings["ODIV_SEL"] <= fastest
    assert (float(settings["FCLKIN"]), settings["DEVICE"]) == (clock, chip)


@pytest.mark.synthesis
@pytest.mark.parametrize(("chip", "limit"), [("GW1N-9C", 61.3), ("GW2A-18C", 203.5)])
def test_gowin_pll_finds_no_faster_clock(chip, limit):
    """It looks for the nearest one; ours, asked of it, comes out with the same dividers."""
    pll = fastest_pll("rPLL", 27.0, limit, chip)
    program = shutil.which("gowin_pll", path=str(Path(sys.executable).parent))
    command = [program, "-d", GOWIN[chip][0], "-i", "27", "-o", str(pll.mhz)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    told = {name: int(re.search(rf"\.{name}\((\d+)\)", said)[1]) for name in ("IDIV_SEL", "FBDIV_SEL")}
    assert told == {name: pll.parameters[name] for name in told}


def test_a_clock_too_slow_is_refused():
    with pytest.raises(DarbError, match=r"makes at least 16\.\d MHz of 12 MHz: choose fewer lanes"):
        fastest_pll(ICE40, 12.0, 5.0)
