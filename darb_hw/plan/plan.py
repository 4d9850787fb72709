"""(EncodedNetwork, EngineConfig) -> Plan: every width, depth, address, schedule, cycle count and ROM word.

No Amaranth here: a plan can be made, printed and compared before any hardware exists. The components receive nothing
else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, pairwise
from operator import attrgetter
from types import MappingProxyType

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan import cell_memory, ports, roms
from darb_hw.plan.blocks import SPRAM_BITS, SPRAM_WORDS
from darb_hw.plan.capacity import Capacity
from darb_hw.plan.clusters import ClusteredNetwork, clustered, source_of
from darb_hw.plan.groups import Group, Loop
from darb_hw.plan.image import Image, unsigned_bits
from darb_hw.plan.latency import Latency
from darb_hw.plan.memory_map import MemoryMap, memory_of
from darb_hw.plan.pace import Timing
from darb_hw.plan.program import Word
from darb_hw.plan.queue import most_waiting
from darb_hw.plan.schedule import Schedule, make_schedule, subset_schedules
from darb_hw.plan.spram_roms import SLICE, check_slices, merged_ends, rows_of_sprams, slices_of
from darb_hw.plan.styles import MultiplierStyle, multiplier_styles
from darb_hw.plan.tile_groups import Rotation, Tiles, tiles_of
from darb_hw.plan.widths import ValueWidths, Widths, value_widths
from darb_hw.plan.writes import Writes, writes_of
from darb_prune.encoded import EncodedNetwork

__all__ = ["Plan"]

_HELD = (1, 2)
"""Rows of registers in front of the shadow row: the numbers that are tried."""
_HELD_GAIN = 0.01
"""More of them must save this share of the cycles."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything derived from a network and a configuration. Make one with :meth:`Plan.make`; nothing in it changes.

    Parameters
    ----------
    network : EncodedNetwork
    config : EngineConfig
    widths : Widths
        Bits of every signal.
    latency : Latency
        Cycles along the data path.
    memory : MemoryMap
        Where each tensor is, and how it is laid out.
    schedule : Schedule
        Groups, program, times; of all tasks, if the network has several.
    loops : tuple of Loop
        Distinct walks over output positions. A word of the program names one by its number.
    clamps : tuple of (int, int)
        Distinct ranges of results. A row names one by its number.
    shift_base : int
        Least shift of all rows.
    inner_clamps : tuple of (int, int)
        Distinct ranges of what is multiplied by an operand. A row names one by its number.
    lane_style, requant_style, product_style : MultiplierStyle
        Of the multipliers of lanes, requantiser and products with operands.
    cell_style : callable
        int -> MultiplierStyle: of a multiplier of cells whose narrow operand has this many bits.
    images : mapping of str to Image
        ROM contents: ``weights``, ``index_0``, ``index_1`` ..., ``program``, ``rows`` and what the network needs of
        ``loops``, ``functions``, ``input_order``, ``embedding``, ``activations`` (at power-up), ``cell_state``,
        ``cell_tanh``. Read-only.
    rotation : Rotation, optional
        Where lanes compute neighbouring positions: how what banks give gets to the lanes.
    spot_shift : int
        Last bits that addresses of pixels do not have in the ROM: they are zero.
    subsets : mapping of int to Schedule
        The schedule of each subset of tasks; ``{1: schedule}`` if the network has no tasks. All have the groups of
        ``schedule``, less those of layers that they do not need. Read-only.
    capacity : Capacity, optional
        What the widths, depths and tables are from, if not from the network.
    """

    network: EncodedNetwork
    config: EngineConfig
    widths: Widths
    latency: Latency
    memory: MemoryMap
    schedule: Schedule
    loops: tuple[Loop, ...]
    clamps: tuple[tuple[int, int], ...]
    inner_clamps: tuple[tuple[int, int], ...]
    shift_base: int
    lane_style: MultiplierStyle
    requant_style: MultiplierStyle
    product_style: MultiplierStyle
    cell_style: Callable[[int], MultiplierStyle]
    images: Mapping[str, Image]
    rotation: Rotation | None = None
    spot_shift: int = 0
    subsets: Mapping[int, Schedule] = field(default_factory=dict)
    capacity: Capacity | None = None

    @classmethod
    def make(cls, network: EncodedNetwork, config: EngineConfig, capacity: Capacity | None = None) -> "Plan":
        """Derive the plan. What the configuration leaves to be chosen is what takes the fewest cycles; what a capacity
        gives is taken from there.

        Raises
        ------
        PlanError
            If this network cannot run with this configuration, or has no room in this capacity.
        """
        network = clustered(network, config)
        memory = memory_of(network, config, capacity.rooms if capacity else None)
        tiles = tiles_of(network, config, memory)
        values = value_widths(network, memory)
        if capacity:
            capacity.check_memory(memory)
            values = capacity.values_for(network, values)
        if config.memory == "spram":
            _check_spram(config, memory, values)
        products = any(layer.multiplies for layer in network.layers)
        lane_style, requant_style, product_style, cell_style = multiplier_styles(config, values, products)
        cell = cell_memory.cell_latency(network.cells[0].kind, cell_style) if network.cells else 0
        multipliers = lane_style.latency, requant_style.latency, product_style.latency * products
        latency = _latency(network, config, multipliers, cell, values.shift, tiles)
        if capacity:
            latency = replace(latency, folds=capacity.folds, held=capacity.held)
            schedule = make_schedule(network, config, memory, latency, tiles)
        else:
            schedule, latency = _schedule(network, config, memory, latency, tiles)
        subsets = subset_schedules(network, config, memory, latency, schedule)
        schedule = subsets[max(subsets)]
        words = _words(subsets)
        loops = tuple(dict.fromkeys(word.loop for word in words))
        clamps = tuple(sorted({roms.clamp_of(network, layer) for layer in network.layers}))
        inner_clamps = tuple(sorted({roms.inner_clamp_of(layer) for layer in network.layers if layer.multiplies}))
        shift_base = min(int(layer.shift.min()) for layer in network.layers)
        index_ends, ordered = _index_ends(config, schedule.groups), False
        if capacity:
            clamps, inner_clamps = capacity.ranges_for(clamps, inner_clamps)
            shift_base, index_ends = capacity.shift_base, capacity.index_ends_for(index_ends)
            ordered = ports.order_varies(network, config, memory)
        rows = roms.rows(network, schedule.groups, memory, clamps, inner_clamps, shift_base)
        rows = capacity.fitted(rows) if capacity else rows
        widths = _widths(network, config, memory, schedule, values, rows, index_ends)
        tables = roms.tile_tables(tiles, widths.address, config.ways) if tiles else {}
        tables = capacity.fitted_each(tables) if capacity else tables
        images = {
            **roms.codes(network, schedule.groups, config.streams, widths.weight, index_ends),
            "program": roms.program(words, index_ends, loops, widths),
            **roms.jumps(words, schedule.groups, index_ends),
            "rows": rows,
            **(roms.loops(loops, widths, _write_bits(widths, tables)) if latency.loops else {}),
            **tables,
            **roms.tables(
                network, memory, ports.load_addresses(network, config, memory),
                ports.load_banks(network, config, memory), None if ordered else ports.walk_of(network, config, memory),
                widths.activation, ordered,
            ),
        }  # fmt: skip
        images = capacity.fitted_all(images) if capacity else images
        if config.roms == "spram":
            check_slices(images, config)
        return cls(
            network, config, widths, latency, memory, schedule, loops, clamps, inner_clamps, shift_base, lane_style,
            requant_style, product_style, cell_style, MappingProxyType(images), tiles.rotation if tiles else None,
            tiles.spot_shift if tiles else 0, MappingProxyType(subsets), capacity,
        )  # fmt: skip

    @property
    def walks(self) -> bool:
        """Whether a layer has more than one output position, or what it does is told by a loop in any case."""
        return self.schedule.walks or self.banked

    @property
    def source(self) -> EncodedNetwork:
        """The network of the file; ``network`` is what the lanes run, which differs from it if there are clusters."""
        return source_of(self.network)

    @property
    def clustered(self) -> bool:
        """Whether each cluster of lanes has memories of its own contents."""
        return isinstance(self.network, ClusteredNetwork)

    @property
    def banked(self) -> bool:
        """Whether lanes compute neighbouring positions, and each has a bank of every map."""
        return self.rotation is not None

    @cached_property
    def crossings(self) -> tuple[frozenset[tuple[int, int]], frozenset[tuple[int, int]]]:
        """Which way's results go to which write port, and which way reads from which memory of the write-back."""
        written: set[tuple[int, int]] = set()
        read: set[tuple[int, int]] = set()
        ways = self.config.ways
        words = self.images["drains"]
        for way in range(ways):
            valid, bank, aux_bank = (words.field(name, way) for name in ("valid", "bank", "aux_bank"))
            written |= {(way, int(port)) for port in np.unique(bank[valid == 1] % ways)}
            read |= {(way, int(port)) for port in np.unique(aux_bank[valid == 1] % ways)}
        return frozenset(written), frozenset(read)

    @property
    def words(self) -> int:
        """Most words of a row."""
        return max(loop.words for loop in self.loops)

    @property
    def repeats(self) -> int:
        """Most words of neighbouring results."""
        return max(loop.repeat for loop in self.loops)

    @property
    def folds(self) -> int:
        """Greatest log2 of the lanes that share a row."""
        return self.latency.folds

    @property
    def lines(self) -> int:
        """Lines of the longest run."""
        return max(word.run.lines for word in self.program)

    @property
    def program(self) -> tuple[Word, ...]:
        """The words of all subsets, that of all tasks first."""
        return _words(self.subsets)

    @property
    def entries(self) -> dict[int, int]:
        """Number of the first word of each subset."""
        order = sorted(self.subsets, reverse=True)
        stops = np.cumsum([len(self.subsets[subset].words) for subset in order]).tolist()
        return dict(zip(order, [0, *stops], strict=False))

    @property
    def tasks(self) -> int:
        """Tasks of which a frame asks for a subset; 0 if the network has none."""
        return len(self.network.tasks)

    @property
    def memory_depth(self) -> int:
        """Elements of the activation memory."""
        return self.memory.depth

    @property
    def copies(self) -> int:
        """Copies of the activation memory: one a lane or one for two, and one for what the write-back reads. Where each
        lane has a bank, those of all lanes."""
        if self.banked:
            return self.config.lanes
        lanes = -(-self.config.lanes // (1 + self.latency.shared))
        return lanes + self.latency.reads_back

    @property
    def sprams(self) -> int:
        """Single-port RAMs that hold the banks of all streams, or slices of ROMs."""
        if self.latency.paired:
            return self.config.lanes // 2
        return sum(count * rows_of_sprams(self.images[name].depth) for name, count in self._slices.items())

    @cached_property
    def _slices(self) -> dict[str, int]:
        if self.config.roms != "spram":
            return {}
        return slices_of(self.images, self.config.target)

    def in_spram(self, name: str) -> int:
        """How many of the lowest bits of the words of an image are in single-port RAMs."""
        return min(self._slices.get(name, 0) * SLICE, self.images[name].width)

    @cached_property
    def queue(self) -> int:
        """Most bursts that wait for a cycle in which nothing is read, or as many as a capacity has room for; 0 without
        single-port RAMs. An element of the input is a burst, too.

        Raises
        ------
        PlanError
            If more wait than the capacity has room for.
        """
        if not self.latency.paired:
            return 0
        layers = groupby(self.schedule.groups, attrgetter("layer"))
        waiting = max(1, *(most_waiting(list(groups), self.latency) for _, groups in layers))
        return self.capacity.queue_for(waiting) if self.capacity else waiting

    @property
    def aux_bits(self) -> int:
        """Bits of an address in the memories of the write-back, as far as it is the same in all banks."""
        return max(1, unsigned_bits(self.memory.read_back - 1))

    @property
    def loaded(self) -> str:
        """The tensor that is in memory when the first layer starts."""
        return self.memory.loaded

    @property
    def overlapped(self) -> bool:
        """Whether an input comes in while the engine works on the one before."""
        return self.memory.release is not None

    @property
    def input_mode(self) -> str:
        """How the next input comes in: ``overlapped``, ``reused`` or ``alone``."""
        if self.memory.second:
            return "overlapped"
        return "reused" if self.overlapped else "alone"

    @property
    def uniform(self) -> bool:
        """Whether there are groups all of whose steps take the same codes."""
        return any(group.uniform for group in self.schedule.groups)

    @property
    def index_widths(self) -> list[int]:
        """Bits of an index up to the end of each of the ROMs ``index_0``, ``index_1`` ..."""
        return list(self.capacity.index_ends) if self.capacity else _index_ends(self.config, self.schedule.groups)

    @cached_property
    def disjoint(self) -> bool:
        """Whether the address of a block and the index of a code never have a common bit: their sum is their union.
        Within a capacity nobody relies on it: the next network may have larger blocks."""
        if self.rotation or self.capacity:
            return False
        banks = self.memory.second | self.memory.bank
        for group in self.schedule.groups:
            moves = [move for count, move in zip(group.loop.counts, group.loop.read, strict=True) if count > 1]
            for run in group.runs:
                starts = [run.base, banks, *moves, run.pitch * (run.lines > 1)]
                starts += [self.memory.columns.moves[run.follow - 1]] if run.follow else []
                starts += [run.level.block] * (run.codes > run.level.kept)
                if any(start % (1 << group.index_bits) for start in starts):
                    return False
        return True

    @property
    def stream_order(self) -> np.ndarray:
        """``stream_order[beat]``: logical index of the input element that the engine takes in that beat."""
        return ports.stream_order(self.network, self.config)

    @property
    def input_walk(self) -> ports.Walk | None:
        """Where the elements of an input go, as sums of addresses, if the plan says so."""
        if self.capacity and "input_order" in self.images:
            return None
        return ports.walk_of(self.network, self.config, self.memory)

    @property
    def load_base(self) -> int:
        """Address of the element that is loaded first."""
        return int(ports.load_addresses(self.network, self.config, self.memory)[0])

    @property
    def input_size(self) -> int:
        """Elements of the input of a time step."""
        return self.network.tensor(self.network.input).size

    @property
    def output_size(self) -> int:
        """Elements of an output."""
        return self.network.tensor(self.network.output).size

    @property
    def features(self) -> int:
        """Elements that a symbol becomes; 0 without embedding."""
        return ports.features_of(self.network)

    @property
    def output_writes(self) -> dict[int, int]:
        """Results that go to the output in one run of the whole program of each subset."""
        writers = {
            layer_number
            for layer_number, layer in enumerate(self.network.layers)
            if layer.output == self.network.output
        }
        return {
            subset: sum(_results_of(group) for group in schedule.groups if group.layer in writers)
            for subset, schedule in self.subsets.items()
        }

    @property
    def output_banks(self) -> int:
        """Outputs that there is room for."""
        return self.timing.output_banks

    @property
    def timing(self) -> Timing:
        """When what happens at the ports, if all tasks are asked for."""
        return self.timings[max(self.timings)]

    @cached_property
    def timings(self) -> dict[int, Timing]:
        """When what happens at the ports, for each subset of tasks."""
        banks = 1 + (self.memory.second > 0)
        outputs = self.capacity.output_banks if self.capacity else None
        return Timing.of_subsets(self.network, self.subsets, self.latency, self.overlapped, banks, outputs)

    @property
    def writes(self) -> Writes:
        """What is on the write port, in order, if all tasks are asked for."""
        return self.subset_writes[max(self.subset_writes)]

    @cached_property
    def subset_writes(self) -> dict[int, Writes]:
        """What is on the write port, in order, for each subset of tasks."""
        rows, groups = self.images["rows"], self.schedule.groups
        return {
            subset: writes_of(self.network, schedule, self.memory, rows, groups)
            for subset, schedule in self.subsets.items()
        }

    def body_writes(self, subset: int) -> int:
        """Results of a time step that is not the last one of its sequence."""
        layer = self.subset_writes[subset].layer
        if self.network.emit != "last" or not self.network.tail:
            return len(layer)
        return int((layer < self.network.tail).sum())


def _check_spram(config: EngineConfig, memory: MemoryMap, values: ValueWidths) -> None:
    """Refuse maps that do not fit single-port RAMs."""
    if config.banks == 1:
        raise PlanError("memory = 'spram' has two banks in a RAM: choose positions 2 or more")
    if values.activation > SPRAM_BITS:
        raise PlanError(
            f"memory = 'spram' has elements of {SPRAM_BITS} bits, the activations have {values.activation}: quantise "
            "them to fewer bits"
        )
    if memory.depth > SPRAM_WORDS:
        raise PlanError(
            f"memory = 'spram': a bank takes {memory.depth:,} elements, there is room for {SPRAM_WORDS:,}: choose more "
            "positions, or smaller feature maps"
        )


def _index_ends(config: EngineConfig, groups: Sequence[Group]) -> list[int]:
    """Up to which bit of an index each ROM goes."""
    ends = roms.index_widths(groups)
    return merged_ends(ends, config.streams) if config.roms == "spram" else ends


def _words(subsets: Mapping[int, Schedule]) -> tuple[Word, ...]:
    """The words of all subsets, that of all tasks first."""
    return tuple(word for subset in sorted(subsets, reverse=True) for word in subsets[subset].words)


def _write_bits(widths: Widths, tables: Mapping[str, Image]) -> int:
    """Bits of what says where the results of a pass go: an address, or the number of a word."""
    return max(1, unsigned_bits(tables["drains"].depth - 1)) if tables else widths.target


def _results_of(group: Group) -> int:
    """Results of a group in all its passes."""
    if group.tiling:
        valid = group.tiling.drainage.valid.sum(axis=(1, 2))
        return len(group.rows) * int(valid[group.loop.offsets(group.loop.tile)].sum())
    return len(group.rows) * group.loop.passes


def _latency(
    network: EncodedNetwork, config: EngineConfig, multipliers: tuple[int, int, int], cell: int, shift: int,
    tiles: Tiles | None,
) -> Latency:  # fmt: skip
    """The data path that the network needs. Rows may be folded over all lanes, and no sums are held."""
    return Latency(
        *multipliers,
        functions=any(layer.row_function.any() for layer in network.layers),
        operand=any(layer.operand and not layer.multiplies for layer in network.layers),
        maximum=any(layer.renews for layer in network.layers),
        loops=tiles is not None
        or bool(network.carried or network.sections)
        or any(layer.position_count > 1 or layer.maximum or layer.operand for layer in network.layers),
        folds=int(tiles.total) if tiles else config.lanes.bit_length() - 1,
        shift_bits=shift,
        shared=config.memory == "shared",
        cell=cell,
        banked=tiles is not None,
        ways=config.ways,
        rotations=len(tiles.rotation.stages) if tiles else 0,
        subsets=bool(network.tasks),
        paired=config.memory == "spram",
    )


def _schedule(
    network: EncodedNetwork, config: EngineConfig, memory: MemoryMap, latency: Latency, tiles: Tiles | None
) -> tuple[Schedule, Latency]:
    """The schedule, and the latency with the folds and the held rows that it uses."""
    if tiles:
        return make_schedule(network, config, memory, latency, tiles), latency

    def make(latency: Latency) -> tuple[Schedule, Latency]:
        schedule = make_schedule(network, config, memory, latency)
        used = replace(latency, folds=max(group.fold for group in schedule.groups))
        if latency.folds and not used.folds:  # nothing to add up: a stage less
            schedule = make_schedule(network, config, memory, used)
        return schedule, used

    best = make(latency)
    for held in _HELD if not latency.shared and _waits_for_drain(best[0]) else ():
        more = make(replace(latency, held=held))
        if more[0].period < best[0].period * (1 - _HELD_GAIN):
            best = more
    return best


def _waits_for_drain(schedule: Schedule) -> bool:
    """Whether a group is shorter than the drain of the one before."""
    return any(
        before.layer == group.layer and before.loop.passes == group.loop.passes == 1 and before.drain > group.lead
        for before, group in pairwise(schedule.groups)
    )


def _widths(
    network: EncodedNetwork, config: EngineConfig, memory: MemoryMap, schedule: Schedule, values: ValueWidths,
    rows: Image, index_ends: Sequence[int],
) -> Widths:  # fmt: skip
    """All widths: those of values, and those that follow from addresses and from the groups."""
    address = max(1, unsigned_bits(memory.depth - 1))
    output = network.tensor(network.output)
    target = max(1, rows.field_width("address"))
    if schedule.walks or memory.banked:  # addresses move behind those of the first position
        target = max(target, address, unsigned_bits(output.size - 1))
    return Widths(
        weight=values.weight,
        index=max(index_ends, default=0),
        activation=values.activation,
        address=address,
        accumulator=values.accumulator,
        biased=values.biased,
        mult=values.mult,
        shift=values.shift,
        rounded=values.rounded,
        row=unsigned_bits(config.streams),
        input=network.tensor(network.input).bits,
        output=output.bits,
        value=max(values.activation, output.bits, cell_memory.BITS * bool(network.cells)),
        target=target,
        unit=max(1, unsigned_bits(memory.cell_units - 1)) if network.cells else 0,
    )
