"""Values that depend on the subset of tasks that a frame asks for."""

from collections.abc import Mapping

from amaranth.hdl import Const, Mux, Value

from darb_hw.plan.image import unsigned_bits

__all__ = ["of_subset"]


def of_subset(subset: Value, values: Mapping[int, int]) -> Value:
    """The value of a subset; that of all tasks for a number that is none. ``values`` are never negative."""
    bits = max(1, unsigned_bits(max(values.values())))
    chosen: Value = Const(values[max(values)], bits)
    for number, value in values.items():
        if value != values[max(values)]:
            chosen = Mux(subset == number, Const(value, bits), chosen)
    return chosen
