"""Where each tensor stands in the activation memory: first fit by lifetime."""

from dataclasses import dataclass

import numpy as np

from darb_hw.plan.layout import Layout, layouts
from darb_prune.encoded import EncodedNetwork

__all__ = ["SECOND", "STATES", "MemoryMap", "Region", "can_overlap", "loaded_tensor", "memory_map"]

STATES = "(states)"
"""Region of the outputs of all cells: the step before, this step (the two change places), and the first step's."""

SECOND = "(second input)"
"""Region of the input that comes in while the engine works on the other; the two change places."""


@dataclass(frozen=True)
class Region:
    """``tensor`` stands at ``start`` while layers ``first .. last`` run (``first`` is -1 for what is loaded
    before layer 0)."""

    tensor: str
    start: int
    layout: Layout
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.layout.size

    @property
    def end(self) -> int:
        return self.start + self.size

    def lives_with(self, other: "Region") -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, eq=False)
class MemoryMap:
    """All regions, and where the outputs of cells stand.

    Parameters
    ----------
    regions : dict of str to Region
        By tensor; outputs of cells are in the region ``STATES``.
    units : dict of str to int
        Number of the first unit of each cell's output; units are numbered through.
    loaded : str
        The tensor that is in memory when the first layer starts.
    """

    regions: dict[str, Region]
    units: dict[str, int]
    loaded: str

    @property
    def depth(self) -> int:
        """Elements of a memory that holds all regions."""
        return max(region.end for region in self.regions.values())

    @property
    def bank(self) -> int:
        """From a cell's output in the step before to the same in this step; all units."""
        return self.regions[STATES].layout.channels if STATES in self.regions else 0

    @property
    def second(self) -> int:
        """From one input to the other; 0 if there is room for one only."""
        return self.regions[SECOND].start - self.regions[self.loaded].start if SECOND in self.regions else 0

    def start(self, tensor: str) -> int:
        if tensor in self.units:
            return self.regions[STATES].start + self.units[tensor]
        return self.regions[tensor].start

    def __contains__(self, tensor: str) -> bool:
        return tensor in self.regions or tensor in self.units


def loaded_tensor(network: EncodedNetwork) -> str:
    """The tensor that is in memory when the first layer starts."""
    return network.embedding.output if network.embedding else network.input


def can_overlap(network: EncodedNetwork) -> bool:
    """Whether the next input may come in while the engine works: only lanes read it, in steps of all kinds."""
    loaded = loaded_tensor(network)
    last = max(n for n, layer in enumerate(network.layers) if any(s.tensor == loaded for s in layer.segments))
    operand = any(layer.operand and layer.operand.tensor == loaded for layer in network.layers)
    return not operand and not (network.emit == "last" and 0 < network.tail <= last)


def _lifetimes(network: EncodedNetwork, units: dict[str, int]) -> dict[str, tuple[int, int]]:
    """First writer and last reader of each tensor that stands in memory, in the order of birth."""
    loaded = loaded_tensor(network)
    first, last = {loaded: -1}, {loaded: -1}
    for number, layer in enumerate(network.layers):
        first.setdefault(layer.output, number)
        for segment in layer.segments:
            last[segment.tensor] = number
        if layer.operand:
            last[layer.operand.tensor] = number
        if layer.renews:  # the result so far is read again
            last[layer.output] = max(number, last.get(layer.output, number))
    return {name: (first[name], last[name]) for name in first if name in last and name not in units}


def _alignment(network: EncodedNetwork, tensor: str, lanes: int) -> int:
    """What the address of a tensor is a multiple of, so that no block of a row, folded or not, crosses one of its
    multiples: then base and index have no bits in common. A layer that walks over a map starts anywhere."""
    readers = [layer for layer in network.layers if any(segment.tensor == tensor for segment in layer.segments)]
    if not readers or any(layer.position_count > 1 for layer in readers):
        return 1
    block = max(level.block for layer in readers for level in layer.levels)
    fold = 1 << (lanes.bit_length() - 1)
    return min(block * fold, 1 << (network.tensor(tensor).size - 1).bit_length())


def memory_map(network: EncodedNetwork, lanes: int = 1, twice: bool = False) -> MemoryMap:
    """Place every tensor that is read; no tensor holds memory after its last reader.

    A layer writes its output while it still reads its input, so the two never overlap. Zeros around a map are
    written by nobody and stay zero: they never share an address with an element of another tensor, and the zeros
    of maps of one shape are the same.

    Parameters
    ----------
    network : EncodedNetwork
    lanes : int
    twice : bool
        Room for a second input, which comes in while the engine works on the first; neither shares its addresses.
    """
    layout_of = layouts(network)
    units, total = {}, 0
    for cell in network.cells:
        units[cell.output] = total
        total += network.tensor(cell.output).size
    loaded, end = loaded_tensor(network), len(network.layers)
    placed: list[Region] = []
    if total:
        placed.append(Region(STATES, 0, Layout((3, 1, total)), -1, end))
    lifetimes = _lifetimes(network, units)
    if twice:
        lifetimes = {loaded: (-1, end), SECOND: (-1, end)} | {n: t for n, t in lifetimes.items() if n != loaded}
    for name, (first, last) in lifetimes.items():
        tensor = loaded if name == SECOND else name
        layout, align = layout_of[tensor], _alignment(network, tensor, lanes)
        ends = sorted({0} | {region.start for region in placed} | {region.end for region in placed})
        candidates = (Region(name, -(-start // align) * align, layout, first, last) for start in ends)
        placed.append(next(region for region in candidates if all(_apart(region, other) for other in placed)))
    return MemoryMap({region.tensor: region for region in placed}, units, loaded)


def _apart(one: Region, other: Region) -> bool:
    """Whether two regions may be where they are."""
    low, high = max(one.start, other.start), min(one.end, other.end)
    if low >= high:
        return True
    if one.lives_with(other):
        return False
    if one.layout == other.layout and one.start == other.start:
        return True
    if one.layout.padding == other.layout.padding == (0, 0):
        return True
    borders = (region.layout.border[low - region.start : high - region.start] for region in (one, other))
    return bool(np.array_equal(*borders))
