"""What a cell unit keeps in memories, and how long it takes: known before any hardware exists."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from darb_hw.plan.image import Field, Image, pack, unsigned_bits

__all__ = ["BITS", "GATES", "cell_latency", "state_half", "state_image", "tanh_image"]

BITS = 16
"""Bits of gates, states and entries of the table of tanh."""
GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n_x", "n_h")}
"""Names of the gates of a kind of cell, in the order of their banks."""
_MEMORY = 2  # read latency of all memories


class Delayed(Protocol):
    """What takes some cycles, such as a :class:`~darb_hw.plan.styles.MultiplierStyle`."""

    @property
    def latency(self) -> int: ...


def cell_latency(kind: str, style: Callable[[int], Delayed]) -> int:
    """Cycles from the last gate value of a unit to the output of the unit.

    Parameters
    ----------
    kind : str
        ``"lstm"`` or ``"gru"``.
    style : callable
        int -> MultiplierStyle: how to build a multiplier whose narrow operand has this many bits.
    """
    gates = 1 + _MEMORY + style(BITS).latency
    if kind == "lstm":  # sum, round, clamp; index, table; product, round, clamp
        return gates + 3 + 1 + _MEMORY + style(BITS).latency + 2
    # sum, index, table; difference, product, sum; round, clamp
    return gates + 2 + _MEMORY + 1 + style(BITS + 1).latency + 1 + 2


def multipliers(kind: str) -> dict[int, int]:
    """How many multipliers a cell has, by the bits of their narrow operand."""
    return {BITS: 3} if kind == "lstm" else {BITS: 1, BITS + 1: 1}


def state_half(units: int) -> int:
    """Address of the first state of unit 0. It is a power of two: an address is the number of a unit, and above it the
    bit that says whether this is the first time step."""
    return 1 << max(1, unsigned_bits(units - 1))


def state_image(state: ArrayLike) -> Image:
    """Contents of the state memory at power-up: room for the states, then the states of the first time step.

    Parameters
    ----------
    state : integers, shape (units,)
        First c or s of each unit, by its number.
    """
    initial = np.asarray(state, np.int64)
    room = np.zeros(state_half(len(initial)), np.int64)
    return pack("cell_state", {Field("value", BITS, signed=True): np.concatenate([room, initial])})


def tanh_image(table: ArrayLike | None = None) -> Image:
    """The table of tanh: 256 entries, for the indices -128 to 127. By default that of ``docs/arithmetic.md``."""
    if table is None:
        table = np.rint(2**15 * np.tanh(np.arange(-128, 128) / 32)).clip(-32767, 32767)
    return pack("cell_tanh", {Field("value", BITS, signed=True): np.asarray(table, np.int64)})
