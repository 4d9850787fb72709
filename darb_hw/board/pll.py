"""Phase-locked loops: the primitives that make the clock of the engine from that of the board."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Const, Instance, Module, Signal, Value

from darb_prune.encoded import DarbError

__all__ = ["Pll", "fastest_pll"]


@dataclass(frozen=True)
class Pll:
    """A primitive with its settings.

    Parameters
    ----------
    primitive : str
        ``"SB_PLL40_2_PAD"`` (the oscillator comes in at the pin of the loop), ``"SB_PLL40_CORE"``, ``"EHXPLLL"`` or
        ``"rPLL"``.
    mhz : float
        Clock that it makes.
    parameters : mapping of str to int or str
        Of the primitive.
    """

    primitive: str
    mhz: float
    parameters: Mapping[str, int | str]

    def instance(self, m: Module, clock: Value, oscillator: Signal, made: Signal, locked: Signal) -> Instance:
        """The primitive: from the pin of the oscillator to the clock that is made of it. Drives ``oscillator``, what
        the fabric gets of that pin, as well."""
        parameters = [("p", name, value) for name, value in self.parameters.items()]
        if self.primitive == "EHXPLLL":
            attributes = [("a", name, value) for name, value in _ECP5_ATTRIBUTES.items()]
            ports = {f"i_{name}": Const(0, 1) for name in _ECP5_IDLE}
            ports |= {"i_CLKI": clock, "i_CLKFB": made, "o_CLKOP": made, "o_LOCK": locked}
            m.d.comb += oscillator.eq(clock)
            return Instance(self.primitive, *parameters, *attributes, **ports)
        if self.primitive == "rPLL":
            ports = {f"i_{name}": Const(0, width) for name, width in _GOWIN_IDLE.items()}
            ports |= {"i_CLKIN": clock, "o_CLKOUT": made, "o_LOCK": locked}
            m.d.comb += oscillator.eq(clock)
            return Instance(self.primitive, *parameters, **ports)
        ports = {"i_RESETB": Const(1, 1), "i_BYPASS": Const(0, 1), "o_LOCK": locked}
        if self.primitive == "SB_PLL40_2_PAD":
            ports |= {"i_PACKAGEPIN": clock, "o_PLLOUTGLOBALA": oscillator, "o_PLLOUTGLOBALB": made}
        else:
            ports |= {"i_REFERENCECLK": clock, "o_PLLOUTGLOBAL": made}
            m.d.comb += oscillator.eq(clock)
        return Instance(self.primitive, *parameters, **ports)


# What ecppll of Project Trellis sets as well.
_ECP5_ATTRIBUTES = {"ICP_CURRENT": "12", "LPF_RESISTOR": "8", "MFG_ENABLE_FILTEROPAMP": "1", "MFG_GMCREF_SEL": "2"}
_ECP5_IDLE = (
    "RST",
    "STDBY",
    "PHASESEL0",
    "PHASESEL1",
    "PHASEDIR",
    "PHASESTEP",
    "PHASELOADREG",
    "PLLWAKESYNC",
    "ENCLKOP",
)


_GOWIN_IDLE = {
    "CLKFB": 1, "FBDSEL": 6, "IDSEL": 6, "ODSEL": 6, "DUTYDA": 4, "PSDA": 4, "FDLY": 4, "RESET": 1, "RESET_P": 1,
}  # fmt: skip


def fastest_pll(primitive: str, clock_mhz: float, limit_mhz: float, chip: str = "") -> Pll:
    """The settings that make the fastest clock up to a limit.

    Parameters
    ----------
    primitive : str
        See :class:`Pll`.
    clock_mhz : float
        Clock of the board.
    limit_mhz : float
    chip : str
        See :class:`~darb_hw.config.Target`; only ``"rPLL"`` differs from chip to chip.

    Raises
    ------
    DarbError
        If the slowest clock that the primitive makes is faster than that.
    """
    if primitive == "rPLL":
        mhz, parameters = _gowin(clock_mhz, limit_mhz, chip)
    else:
        choose = _ecp5 if primitive == "EHXPLLL" else _ice40
        mhz, parameters = choose(clock_mhz, limit_mhz)
    if not parameters:
        raise DarbError(
            f"{limit_mhz:.1f} MHz: {primitive} makes at least {mhz:.1f} MHz of {clock_mhz:g} MHz: choose fewer lanes, "
            "which reach a faster clock"
        )
    return Pll(primitive, mhz, parameters)


def _best(mhz: np.ndarray, good: np.ndarray, limit: float) -> tuple[float, tuple[int, ...] | None]:
    """The largest of the good frequencies up to a limit, and where it is; the smallest, and nothing, if there is
    none."""
    allowed = good & (mhz <= limit)
    if not allowed.any():
        return float(mhz[good].min()), None
    # The first of equals: the smallest divider of the reference.
    place = np.unravel_index(np.argmax(np.where(allowed, mhz, 0)), mhz.shape)
    return float(mhz[place]), tuple(int(index) for index in place)


def _ice40(clock: float, limit: float) -> tuple[float, dict[str, int | str]]:
    """Simple feedback: ``clock * (DIVF + 1) / (2**DIVQ * (DIVR + 1))`` (Lattice TN1251)."""
    divr, divf, divq = np.meshgrid(np.arange(16), np.arange(128), np.arange(1, 7), indexing="ij")
    phase = clock / (divr + 1)
    vco = phase * (divf + 1)
    mhz = vco / (1 << divq)
    good = (phase >= 10) & (phase <= 133) & (vco >= 533) & (vco <= 1066) & (mhz >= 16) & (mhz <= 275)
    found, place = _best(mhz, good, limit)
    if place is None:
        return found, {}
    # The ranges of the loop filter, by the frequency at the phase detector.
    filter_range = 1 + int(np.searchsorted([17, 26, 44, 66, 101], phase[place], side="right"))
    settings = {"DIVR": int(divr[place]), "DIVF": int(divf[place]), "DIVQ": int(divq[place])}
    return found, {"FEEDBACK_PATH": "SIMPLE", **settings, "FILTER_RANGE": filter_range}


def _ecp5(clock: float, limit: float) -> tuple[float, dict[str, int | str]]:
    """Feedback from the output: ``clock * CLKFB_DIV / CLKI_DIV`` (Lattice TN1263)."""
    reference, feedback, output = np.meshgrid(np.arange(1, 129), np.arange(1, 81), np.arange(1, 129), indexing="ij")
    phase = clock / reference
    mhz = phase * feedback
    vco = mhz * output
    good = (phase >= 3.125) & (vco >= 400) & (vco <= 800) & (mhz >= 3.125) & (mhz <= 400)
    found, place = _best(mhz, good, limit)
    if place is None:
        return found, {}
    divider = int(output[place])
    return found, {
        "CLKI_DIV": int(reference[place]),
        "CLKFB_DIV": int(feedback[place]),
        "CLKOP_DIV": divider,
        "CLKOP_CPHASE": divider // 2,
        "CLKOP_FPHASE": 0,
        "CLKOP_ENABLE": "ENABLED",
        "FEEDBK_PATH": "CLKOP",
    }


_GOWIN_MHZ = {"GW1N-9C": ((3, 400), (400, 1200), (3.125, 600)), "GW2A-18C": ((3, 500), (500, 1250), (3.90625, 625))}
"""For each chip of Gowin, from where to where: the frequencies at the phase detector, of the loop, of the output (data
sheets DS117 for C6/I5 and DS226 for C8/I7, as gowin_pll of Apicula has them)."""
_GOWIN_DIVIDERS = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)


def _gowin(clock: float, limit: float, chip: str) -> tuple[float, dict[str, int | str]]:
    """Feedback within: ``clock * (FBDIV_SEL + 1) / (IDIV_SEL + 1)`` (Gowin UG286). It makes no other clock: its second
    output, behind a divider, is not used."""
    reference, feedback, output = np.meshgrid(np.arange(64), np.arange(64), np.array(_GOWIN_DIVIDERS), indexing="ij")
    phase = clock / (reference + 1)
    mhz = phase * (feedback + 1)
    good = np.ones(mhz.shape, bool)
    for made, (low, high) in zip((phase, mhz * output, mhz), _GOWIN_MHZ[chip], strict=True):
        good &= (made >= low) & (made <= high)
    found, place = _best(mhz, good, limit)
    if place is None:
        return found, {}
    off = ("DYN_IDIV_SEL", "DYN_FBDIV_SEL", "DYN_ODIV_SEL", "DYN_DA_EN", "CLKOUT_BYPASS")
    return found, {
        "FCLKIN": f"{clock:g}",
        "DEVICE": chip,
        "IDIV_SEL": int(reference[place]),
        "FBDIV_SEL": int(feedback[place]),
        "ODIV_SEL": int(output[place]),
        "CLKFB_SEL": "internal",
        **dict.fromkeys(off, "false"),
    }
