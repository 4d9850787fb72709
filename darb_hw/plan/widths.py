"""Bits of every signal of the data path."""

from dataclasses import dataclass

import numpy as np

from darb_hw.plan.image import signed_bits, unsigned_bits
from darb_hw.plan.memory_map import MemoryMap
from darb_prune.encoded import EncodedNetwork

__all__ = ["ValueWidths", "Widths", "value_widths"]


@dataclass(frozen=True)
class ValueWidths:
    """The widths that follow from the values of a network alone; :class:`Widths` says what each is."""

    weight: int
    activation: int
    accumulator: int
    biased: int
    mult: int
    shift: int
    rounded: int


@dataclass(frozen=True)
class Widths:
    """Bits of every signal of the data path.

    Parameters
    ----------
    weight, index : int
        Weight and index of a code: the widest of all layers and levels.
    activation : int
        Element of the activation memory.
    address : int
        Address in the activation memory.
    accumulator : int
        Exact sum of a row over all legal inputs.
    biased : int
        The same sum plus its bias.
    mult : int
        Unsigned multiplier of the requantisation.
    shift : int
        Shift of the requantisation, above ``shift_base``.
    rounded : int
        Product after its shift.
    row : int
        Number of rows of a group, 0 to lanes.
    input, output : int
        Elements of the streams.
    value : int
        A result.
    target : int
        Where a result goes: an address in activation memory or output buffer, or the number of a unit.
    unit : int
        Number of a unit of a cell.
    """

    weight: int
    index: int
    activation: int
    address: int
    accumulator: int
    biased: int
    mult: int
    shift: int
    rounded: int
    row: int
    input: int
    output: int
    value: int
    target: int
    unit: int

    @property
    def code(self) -> int:
        """Weight and index together."""
        return self.weight + self.index


def value_widths(network: EncodedNetwork, memory: MemoryMap) -> ValueWidths:
    """Widths that hold every value the network can have, for all legal inputs."""
    low = high = biased_low = biased_high = rounded_low = rounded_high = 0
    for layer in network.layers:
        least, greatest = network.accumulator_bounds(layer)
        low, high = min(low, int((least - layer.bias).min())), max(high, int((greatest - layer.bias).max()))
        biased_low, biased_high = min(biased_low, int(least.min())), max(biased_high, int(greatest.max()))
        shift = layer.shift.astype(np.int64)
        # Before it is rounded, a value has one more bit behind the point. It may lie below all rounded values.
        rounded_low = min(rounded_low, int((least * layer.mult >> shift).min()))
        rounded_high = max(rounded_high, int((greatest * layer.mult + (1 << shift - 1) >> shift).max()))
    shifts = np.concatenate([layer.shift for layer in network.layers]).astype(int)
    return ValueWidths(
        weight=max(layer.weight_bits for layer in network.layers),
        activation=max(tensor.bits for tensor in network.tensors if tensor.name in memory),
        accumulator=signed_bits(low, high),
        biased=max(signed_bits(biased_low, biased_high), signed_bits(low, high)),
        mult=max(1, unsigned_bits(max(int(layer.mult.max()) for layer in network.layers))),
        shift=unsigned_bits(int(shifts.max() - shifts.min())),
        rounded=signed_bits(rounded_low, rounded_high),
    )
