"""Registers along the way: delay lines, and copies of a control signal for many readers."""

from typing import TypeVar, cast

from amaranth.hdl import Module, Signal, Value, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import FileMemories
from darb_hw.device.modules import MODULES

__all__ = ["Copy", "delay", "fanout", "fanout_to"]

Delayed = TypeVar("Delayed", Value, data.View)


def delay(m: Module, value: Delayed, cycles: int, name: str, *, control: bool = False) -> Delayed:
    """``value`` delayed by ``cycles`` registers, added to ``m``.

    Parameters
    ----------
    control : bool
        Registers that say whether something is valid are reset; those of the data path are not.
    """
    for stage in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{stage + 1}", reset_less=not control)
        m.d.sync += register.eq(value)
        # A signal with the layout of a view is a view itself.
        value = cast(Delayed, register)
    return value


class Copy(wiring.Component):
    """A register that synthesis keeps, although others hold the same.

    Yosys merges equal registers, whatever the attributes of their signals. Only the attribute of the cell keeps a
    register, and only a module of ``memory.v`` can set it.

    Parameters
    ----------
    width : int

    Members
    -------
    i : In(width)
    o : Out(width)
        A cycle later. Not reset.
    """

    i: Signal
    o: Signal

    def __init__(self, width: int = 1) -> None:
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if isinstance(platform, FileMemories):
            m.submodules.copy = MODULES["darb_copy"].instance({"WIDTH": len(self.i)}, i=self.i, o=self.o)
        else:
            register = Signal(len(self.i), reset_less=True)
            m.d.sync += register.eq(self.i)
            m.d.comb += self.o.eq(register)
        return m


def fanout(m: Module, value: ValueLike, copies: int, name: str, *, cycles: int = 1) -> list[Value]:
    """``value``, ``cycles`` later, in ``copies`` registers, each for a part of the readers.

    For signals that steer a data path. The copies are not reset: they follow a reset ``cycles`` late.

    Parameters
    ----------
    copies : int
    name : str
        Of the submodules; the level and the index of a copy follow.
    cycles : int
        Levels of the tree of registers. The registers of a level have about as many readers each.
    """
    level = [Value.cast(value)]
    for cycle in range(1, cycles + 1):
        count = round(copies ** (cycle / cycles))
        following = []
        for index in range(count):
            copy = Copy(len(level[0]))
            m.submodules[f"{name}_{cycle}_{index}"] = copy
            m.d.comb += copy.i.eq(level[index * len(level) // count])
            following.append(copy.o)
        level = following
    return level


def fanout_to(m: Module, value: ValueLike, readers: int, each: int, name: str, *, cycles: int = 1) -> list[Value]:
    """``value``, ``cycles`` later, for each reader. ``each`` readers share a register of :func:`fanout`."""
    copies = fanout(m, value, -(-readers // each), name, cycles=cycles)
    return [copies[reader // each] for reader in range(readers)]
