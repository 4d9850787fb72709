"""Where each tensor is in the activation memory, and for how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.plan.banks import BankedLayout, banked_layouts
from darb_hw.plan.clusters import part_layouts
from darb_hw.plan.columns import NO_COLUMNS, Columns, columns_of, sweeps_of
from darb_hw.plan.layout import Layout, layouts
from darb_hw.plan.regions import Region, depth_of, packed, placed, separate
from darb_prune.encoded import EncodedNetwork

__all__ = ["SECOND", "STATES", "MemoryMap", "can_overlap", "loaded_tensor", "memory_map", "memory_of"]

STATES = "(states)"
"""Region of the outputs of all cells, and of tensors that layers carry on. Three banks: the time step before, this
one, and what the first one starts from.
The first two change roles with every time step."""

SECOND = "(second input)"
"""Region of the input that comes in while the engine works on the other. The two change roles with every input."""


@dataclass(frozen=True, eq=False)
class MemoryMap:
    """Where each tensor is, and how it is laid out there.

    Parameters
    ----------
    layouts : mapping of str to Layout
        Of every tensor, those outside the memory included; empty where the memory has banks.
    banked : mapping of str to BankedLayout
        The same where lanes compute neighbouring positions, and each has a bank of every map; else empty.
    regions : mapping of str to Region
        By tensor. Outputs of cells, and tensors that layers carry on, are in the region ``STATES``.
    units : mapping of str to int
        Number of the first unit of each of these in ``STATES``: all of them are numbered in a row, those of cells
        first.
    cells : mapping of str to int
        Number of the first unit of each cell, by its output. In sections that is an ordinary map.
    cell_units : int
        How many units of cells there are.
    loaded : str
        The tensor that is in memory when the first layer starts.
    renewed : frozenset of str
        Tensors that the write-back reads.
    release : int, optional
        The layer behind which another input may come in, while the engine works; none if it must rest.
    columns : Columns
        Which columns the layers of sections read and write.
    """

    layouts: Mapping[str, Layout]
    banked: Mapping[str, BankedLayout]
    regions: Mapping[str, Region]
    units: Mapping[str, int]
    cells: Mapping[str, int]
    cell_units: int
    loaded: str
    renewed: frozenset[str]
    release: int | None = None
    columns: Columns = NO_COLUMNS

    @property
    def depth(self) -> int:
        """Elements of a memory, or of each of its banks, that holds all regions."""
        return depth_of(self.regions.values())

    @property
    def bank(self) -> int:
        """Distance from a unit's value in the time step before to the one in this time step; all units."""
        return self.regions[STATES].layout.channels if STATES in self.regions else 0

    @property
    def read_back(self) -> int:
        """Elements up to the last one that the write-back reads: operands and results so far. These come first."""
        return max([region.end for name, region in self.regions.items() if name in self.renewed], default=0)

    @property
    def second(self) -> int:
        """Distance from one input to the other; 0 if there is room for one only."""
        return self.regions[SECOND].start - self.regions[self.loaded].start if SECOND in self.regions else 0

    def start(self, tensor: str) -> int:
        """First address of a tensor."""
        if tensor in self.units:
            return self.regions[STATES].start + self.units[tensor]
        return self.regions[tensor].start

    def under_next_input(self, tensor: str) -> bool:
        """Whether the next input comes in over a tensor."""
        after, before = self.regions[self.loaded], self.regions.get(tensor)
        return after.again is not None and before is not None and not separate(after, before)

    def with_regions(self, regions: Sequence[Region]) -> "MemoryMap":
        """The same tensors at other addresses. The first input comes before the second."""
        by_name = {region.tensor: region for region in regions}
        if SECOND in by_name and by_name[SECOND].start < by_name[self.loaded].start:
            one, other = by_name[self.loaded], by_name[SECOND]
            by_name |= {self.loaded: replace(one, start=other.start), SECOND: replace(other, start=one.start)}
        return replace(self, regions=MappingProxyType({name: by_name[name] for name in self.regions}))

    def __contains__(self, tensor: str) -> bool:
        return tensor in self.regions or tensor in self.units


def loaded_tensor(network: EncodedNetwork) -> str:
    """The tensor that is in memory when the first layer starts."""
    return network.embedding.output if network.embedding else network.input


def _last_reader(network: EncodedNetwork) -> int:
    """The last layer that reads what is loaded."""
    loaded = loaded_tensor(network)
    spans = zip(network.layers, _spans(network), strict=True)
    return max(last for layer, (_, last) in spans if any(segment.tensor == loaded for segment in layer.segments))


def _spans(network: EncodedNetwork) -> list[tuple[int, int]]:
    """Of each layer, the layers that run in turn with it: itself, or the first and the last one of its sweep."""
    spans = [(layer_number, layer_number) for layer_number in range(len(network.layers))]
    for sweep in sweeps_of(network):
        spans[sweep.first : sweep.stop] = [(sweep.first, sweep.stop - 1)] * (sweep.stop - sweep.first)
    return spans


def can_overlap(network: EncodedNetwork) -> bool:
    """Whether the next input may come in while the engine works.

    It may if only lanes read the input, and if the layers that read it run in every time step.
    """
    loaded, last = loaded_tensor(network), _last_reader(network)
    operand = any(layer.operand and layer.operand.tensor == loaded for layer in network.layers)
    return not operand and not (network.emit == "last" and 0 < network.tail <= last)


def _lifetimes(network: EncodedNetwork, units: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """First writer and last reader of each tensor that needs a region, in the order of birth."""
    loaded = loaded_tensor(network)
    first, last = {loaded: -1}, {loaded: -1}
    cells = {cell.gates: cell.output for cell in network.cells}
    for layer_number, (layer, (begin, end)) in enumerate(zip(network.layers, _spans(network), strict=True)):
        first.setdefault(cells.get(layer.output, layer.output), begin)
        for segment in layer.segments:
            last[segment.tensor] = end
        if layer.operand:
            last[layer.operand.tensor] = end
        if layer.renews:  # the result so far is read again
            last[layer.output] = max(layer_number, last.get(layer.output, layer_number))
    for tensor in network.tensors:
        if tensor.initial is not None and tensor.name in network.sectioned:  # nobody may write over these
            first[tensor.name], last[tensor.name] = -1, len(network.layers)
    return {name: (first[name], last[name]) for name in first if name in last and name not in units}


def _alignment(network: EncodedNetwork, tensor: str, lanes: int) -> int:
    """What the start of a tensor has to be a multiple of.

    No block of a row, folded or not, crosses a multiple of it. So base address and index have no bits in common.
    A layer that walks over a map reads from any address, so its input needs no alignment.
    """
    readers = [layer for layer in network.layers if any(segment.tensor == tensor for segment in layer.segments)]
    if not readers or any(layer.position_count > 1 or layer.output in network.sectioned for layer in readers):
        return 1
    block = max(level.block for layer in readers for level in layer.levels)
    if tensor in part_layouts(network):  # rows are not folded inside of a cluster
        return min(block, 1 << (part_layouts(network)[tensor].size - 1).bit_length())
    fold = 1 << (lanes.bit_length() - 1)
    return min(block * fold, 1 << (network.tensor(tensor).size - 1).bit_length())


def memory_map(
    network: EncodedNetwork, lanes: int = 1, second_input: bool = False,
    banked: Mapping[str, BankedLayout] | None = None, reused: bool = False, rooms: Mapping[str, int] | None = None,
) -> MemoryMap:  # fmt: skip
    """Give a region to every tensor that is read, up to its last reader.

    A layer writes its output while it still reads its input, so the two never overlap; only the output of an addition
    may be where its operand is. Nobody writes the zeros around a map, so they stay zero: they never share an address
    with an element of another tensor. Maps of one shape may share their zeros.

    Parameters
    ----------
    network : EncodedNetwork
    lanes : int
    second_input : bool
        Make room for a second input, which comes in while the engine works on the first. Neither shares its addresses.
    banked : mapping of str to BankedLayout, optional
        Layouts in banks. Then no zeros are stored, and tensors that the write-back reads come first.
    reused : bool
        The next input comes in over the one that has been read, as soon as that costs no memory. From then on no other
        tensor shares its addresses.
    rooms : mapping of str to int, optional
        Addresses that tensors get at least, without any alignment: networks of other sizes and levels then have the
        same addresses.
    """
    columns = columns_of(network)
    layout_of: Mapping[str, Layout | BankedLayout] = banked or layouts(network, columns) | part_layouts(network)
    last = _last_reader(network)
    if not reused:
        draft = _draft(network, lanes, layout_of, second_input, last if second_input else None, rooms)
    else:
        # Steps that are not the last of their sequence end before the tail, and would never release their input there.
        ends = network.tail if network.emit == "last" and network.tail else len(network.layers)
        drafts = (_draft(network, lanes, layout_of, False, release, rooms) for release in range(last, ends))
        draft = min(drafts, key=lambda memory: memory.depth)
    return replace(draft.with_regions(packed(list(draft.regions.values()))), columns=columns)


def memory_of(network: EncodedNetwork, config: EngineConfig, rooms: Mapping[str, int] | None = None) -> MemoryMap:
    """The memory map of a network with a configuration; ``rooms`` as in :func:`memory_map`.

    Raises
    ------
    PlanError
        If a map has no layout in so many banks.
    """
    early = config.input != "alone" and config.memory not in ("shared", "spram") and can_overlap(network)
    reused = config.input == "reused"
    # With one position there would be no banks to put in single-port RAMs.
    remedy = "choose memory private" if config.memory == "spram" else "choose positions 1"
    banked = banked_layouts(network, config.banks, config.written, remedy)
    return memory_map(network, config.lanes, early and not reused, banked, early and reused, rooms)


def _draft(
    network: EncodedNetwork, lanes: int, layout_of: Mapping[str, Layout | BankedLayout], second_input: bool,
    release: int | None, rooms: Mapping[str, int] | None,
) -> MemoryMap:  # fmt: skip
    """The memory map in which another input may come in behind the layer ``release``: into the second region, or over
    the input before. Tensors get their addresses in the order of birth."""
    renewed = {layer.operand.tensor for layer in network.layers if layer.operand}
    renewed |= {layer.output for layer in network.layers if layer.renews}
    cells, cell_units = {}, 0
    for cell in network.cells:
        cells[cell.output] = cell_units
        cell_units += network.tensor(cell.output).channels
    units, unit_count = {}, 0
    for name in (*cells, *network.carried) if network.recurrent else ():
        units[name] = unit_count
        unit_count += network.tensor(name).size
    loaded, end = loaded_tensor(network), len(network.layers)
    banked = any(isinstance(layout, BankedLayout) for layout in layout_of.values())
    regions = [Region(STATES, 0, Layout((3, 1, unit_count)), -1, end)] if unit_count else []
    lifetimes = _lifetimes(network, units)
    if second_input:
        lifetimes = {loaded: (-1, end), SECOND: (-1, end)} | {n: t for n, t in lifetimes.items() if n != loaded}
    for name, (first, last) in lifetimes.items():
        tensor = loaded if name == SECOND else name
        comes = release + 1 if name == loaded and release is not None and not second_input else None
        align = 1 if banked or rooms else _alignment(network, tensor, lanes)
        room = rooms.get(tensor, 0) if rooms else 0
        rank = 1 if banked and name in renewed else 2  # what the write-back reads has the first addresses of a bank
        regions.append(Region(name, 0, layout_of[tensor], first, last, comes, align, rank, room=room))
    regions.sort(key=lambda region: region.rank)
    over = _overwritten(network, {region.tensor: region for region in regions})
    regions = [replace(region, over=over.get(region.tensor)) for region in placed(regions)]
    return MemoryMap(
        MappingProxyType({name: layout for name, layout in layout_of.items() if isinstance(layout, Layout)}),
        MappingProxyType({name: layout for name, layout in layout_of.items() if isinstance(layout, BankedLayout)}),
        MappingProxyType({region.tensor: region for region in regions}),
        MappingProxyType(units),
        MappingProxyType(cells),
        cell_units,
        loaded,
        frozenset(renewed),
        release,
    )


def _overwritten(network: EncodedNetwork, regions: Mapping[str, Region]) -> dict[str, str]:
    """Outputs of additions and products that may be written over their operand, with that operand.

    Each element of the operand is read for that element of the output which has its place in the layout, and for no
    other; nobody else reads it any more. The write-back reads what it adds before it writes the sum.
    """
    over = {}
    for layer_number, layer in enumerate(network.layers):
        operand = layer.operand
        if operand is None or operand.tensor not in regions or layer.output not in regions:
            continue
        source, target = regions[operand.tensor], regions[layer.output]
        writers = [other for other in network.layers if other.output == layer.output]
        last = source.last == layer_number and all(segment.tensor != operand.tensor for segment in layer.segments)
        order, other_order = (network.tensor(name).channel_position for name in (operand.tensor, layer.output))
        alike = source.layout == target.layout and np.array_equal(order, other_order)
        if last and alike and len(writers) == 1 and operand.stride == (1, 1) and operand.first == 0:
            over[layer.output] = operand.tensor
    return over
