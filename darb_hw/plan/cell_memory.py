"""What a cell unit keeps in memories, and how long it takes: known before any hardware exists."""

from collections.abc import Callable, Sequence

import numpy as np

from darb_hw.plan.image import Field, Image, pack, unsigned_bits

__all__ = ["BITS", "GATES", "cell_latency", "state_half", "state_image", "tanh_image"]

BITS = 16
"""Of gates, states and entries of the table of tanh."""
GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n_x", "n_h")}
"""Names of the gates of a kind of cell; a gate's bank is its place here."""
_MEMORY = 2  # read latency of all memories


def cell_latency(kind: str, style: Callable) -> int:
    """Cycles from the firing gate value to the output of its unit.

    Parameters
    ----------
    kind : str
        ``"lstm"`` or ``"gru"``.
    style : callable
        int -> MultiplierStyle: how to build a multiplier whose narrow operand has so many bits.
    """
    gates = 1 + _MEMORY + style(BITS).latency
    if kind == "lstm":  # sum, round, clamp; index, table; product, round, clamp
        return gates + 3 + 1 + _MEMORY + style(BITS).latency + 2
    # sum, index, table; difference, product, sum; round, clamp
    return gates + 2 + _MEMORY + 1 + style(BITS + 1).latency + 1 + 2


def state_half(units: int) -> int:
    """Address of the initial state of unit 0: a power of two, so that the address is unit and first-step flag side
    by side."""
    return 1 << max(1, unsigned_bits(units - 1))


def state_image(state: Sequence[int]) -> Image:
    """Contents of the state memory at power-up: room for the states, then what they are at the first step.

    Parameters
    ----------
    state : sequence of int, shape (units,)
        Initial c or s, by number of the unit.
    """
    initial = np.asarray(state, np.int64)
    room = np.zeros(state_half(len(initial)), np.int64)
    return pack("cell_state", {Field("value", BITS, signed=True): np.concatenate([room, initial])})


def tanh_image(table: Sequence[int] | None = None) -> Image:
    """The table of tanh: 256 entries, of index -128 to 127; by default as ``docs/arithmetic.md`` has it."""
    if table is None:
        table = np.rint(2**15 * np.tanh(np.arange(-128, 128) / 32)).clip(-32767, 32767)
    return pack("cell_tanh", {Field("value", BITS, signed=True): np.asarray(table, np.int64)})
