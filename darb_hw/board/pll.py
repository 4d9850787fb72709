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
        ``"SB_PLL40_2_PAD"`` (the oscillator comes in at the pin of the loop), ``"SB_PLL40_CORE"`` or ``"EHXPLLL"``.
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


def fastest_pll(primitive: str, clock_mhz: float, limit_mhz: float) -> Pll:
    """The settings that make the fastest clock up to a limit.

    Parameters
    ----------
    primitive : str
        See :class:`Pll`.
    clock_mhz : float
        Clock of the board.
    limit_mhz : float

    Raises
    ------
    DarbError
        If the slowest clock that the primitive makes is faster than that.
    """
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
