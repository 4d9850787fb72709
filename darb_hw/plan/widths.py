"""Bits of every signal of the data path."""

from dataclasses import dataclass

import numpy as np

from darb_hw.plan.image import Image, signed_bits, unsigned_bits
from darb_hw.plan.memory_map import MemoryMap
from darb_prune.encoded import EncodedNetwork

__all__ = ["Widths", "field_width", "widths_of_values"]


@dataclass(frozen=True)
class Widths:
    """Bits of every signal of the data path.

    Parameters
    ----------
    weight, index, activation : int
        A code's weight and index (the widest of all layers and levels), an element of the activation memory.
    address : int
        Address in the activation memory.
    accumulator, biased : int
        Exact sum of a row over all legal inputs; the same plus its bias.
    mult, shift : int
        Requantisation: unsigned multiplier; shift above ``shift_base``.
    rounded : int
        What is left of a product after its shift.
    row : int
        Rows of a group, 0 to lanes.
    input, output : int
        Elements of the streams.
    value, target : int
        A result, and where it goes: an address in activation memory or output buffer, or the number of a unit.
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
        return self.weight + self.index


def widths_of_values(network: EncodedNetwork, memory: MemoryMap) -> dict[str, int]:
    """Widths that follow from the values of the network."""
    low = high = biased_low = biased_high = rounded_low = rounded_high = 0
    for layer in network.layers:
        least, greatest = network.accumulator_bounds(layer)
        low, high = min(low, int((least - layer.bias).min())), max(high, int((greatest - layer.bias).max()))
        biased_low, biased_high = min(biased_low, int(least.min())), max(biased_high, int(greatest.max()))
        shift = layer.shift.astype(np.int64)
        # Before it is rounded, a value is there with a bit more behind the point: it may lie below all rounded ones.
        rounded_low = min(rounded_low, int((least * layer.mult >> shift).min()))
        rounded_high = max(rounded_high, int((greatest * layer.mult + (1 << shift - 1) >> shift).max()))
    shifts = np.concatenate([layer.shift for layer in network.layers]).astype(int)
    stored = [name for name in (tensor.name for tensor in network.tensors) if name in memory]
    return {
        "weight": max(layer.weight_bits for layer in network.layers),
        "activation": max(network.tensor(name).bits for name in stored),
        "accumulator": signed_bits(low, high),
        "biased": max(signed_bits(biased_low, biased_high), signed_bits(low, high)),
        "mult": max(1, unsigned_bits(max(int(layer.mult.max()) for layer in network.layers))),
        "shift": unsigned_bits(int(shifts.max() - shifts.min())),
        "rounded": signed_bits(rounded_low, rounded_high),
    }


def field_width(image: Image, name: str) -> int:
    return max([field.width for field in image.fields if field.name == name], default=0)
