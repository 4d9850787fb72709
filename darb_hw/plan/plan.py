"""(EncodedNetwork, EngineConfig) -> Plan: every width, depth, address, schedule, cycle count and ROM word.

No Amaranth here: a plan can be made, printed and compared before any hardware exists, and the components
receive nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.plan import cell_memory, roms
from darb_hw.plan.groups import Loop
from darb_hw.plan.image import Image, unsigned_bits
from darb_hw.plan.latency import Latency
from darb_hw.plan.layout import Layout, layouts
from darb_hw.plan.memory_map import MemoryMap, can_overlap, memory_map
from darb_hw.plan.pace import Timing
from darb_hw.plan.schedule import Schedule, make_schedule
from darb_hw.plan.styles import MultiplierStyle, multiplier_styles
from darb_hw.plan.widths import Widths, field_width, widths_of_values
from darb_hw.plan.writes import Writes, writes_of
from darb_prune.encoded import EncodedNetwork

__all__ = ["Plan"]

_HELD = (1, 2)
"""Rows of registers between accumulators and shadow row that are tried."""
_HELD_GAIN = 0.01
"""What they must save of the cycles that there are with fewer."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything derived from a network and a configuration. Make one with :meth:`Plan.make`.

    Parameters
    ----------
    layouts : dict of str to Layout
        How each tensor stands in memory.
    memory : MemoryMap
        Where.
    schedule : Schedule
        Groups, program, times.
    loops : tuple of Loop
        Distinct walks over output positions; a word of the program names one by its number.
    clamps : tuple of (int, int)
        Distinct ranges of results; a row names one by its number.
    shift_base : int
        Least shift of all rows.
    lane_style, requant_style : MultiplierStyle
    cell_style : callable
        int -> MultiplierStyle: of a multiplier of cells, for a narrow operand of so many bits.
    images : dict of str to Image
        ROM contents: ``weights``, ``index_0``, ``index_1`` ..., ``program``, ``rows`` and what the network needs of
        ``loops``, ``functions``, ``input_order``, ``embedding``, ``activations`` (at power-up), ``cell_state``,
        ``cell_tanh``.
    """

    network: EncodedNetwork
    config: EngineConfig
    widths: Widths
    latency: Latency
    layouts: dict[str, Layout]
    memory: MemoryMap
    schedule: Schedule
    loops: tuple[Loop, ...]
    clamps: tuple[tuple[int, int], ...]
    shift_base: int
    lane_style: MultiplierStyle
    requant_style: MultiplierStyle
    cell_style: Callable[[int], MultiplierStyle]
    images: dict[str, Image]

    @classmethod
    def make(cls, network: EncodedNetwork, config: EngineConfig) -> "Plan":
        """Derive the plan; what the configuration leaves to be chosen is what takes the fewest cycles.

        Raises
        ------
        PlanError
            If this network cannot run with this configuration.
        """
        twice = config.input != "alone" and config.memory != "shared" and can_overlap(network)
        memory, layout_of = memory_map(network, config.lanes, twice), layouts(network)
        numbers = widths_of_values(network, memory)
        lane_style, requant_style, cell_style = multiplier_styles(config, numbers)
        latency = Latency(
            lane_style.latency,
            requant_style.latency,
            functions=any(layer.row_function.any() for layer in network.layers),
            operand=any(layer.operand for layer in network.layers),
            maximum=any(layer.renews for layer in network.layers),
            loops=any(layer.position_count > 1 or layer.maximum or layer.operand for layer in network.layers),
            folds=config.lanes.bit_length() - 1,
            shift_bits=numbers["shift"],
            shared=config.memory == "shared",
            cell=cell_memory.cell_latency(network.cells[0].kind, cell_style) if network.cells else 0,
        )
        schedule, latency = _schedule(network, config, layout_of, memory, latency)
        loops = tuple(dict.fromkeys([word.loop for word in schedule.words]))
        walks = any(loop.passes > 1 for loop in loops)
        shift_base = min(int(layer.shift.min()) for layer in network.layers)
        clamps = tuple(sorted({_clamp(network, layer) for layer in network.layers}))
        address = max(1, unsigned_bits(memory.depth - 1))
        output = network.tensor(network.output)
        widths_of_indices = roms.index_widths(schedule.groups)
        images = {
            **roms.codes(network, schedule.groups, config.lanes, numbers["weight"]),
            "program": roms.program(schedule.words, loops, widths_of_indices, address, unsigned_bits(config.lanes)),
            "rows": roms.rows(network, schedule.groups, layout_of, memory, clamps, shift_base),
        }
        target = max(1, field_width(images["rows"], "address"))
        if walks:  # addresses move behind those of the first position
            target = max(target, address, unsigned_bits(output.size - 1))
        widths = Widths(
            index=max(widths_of_indices, default=0),
            address=address,
            row=unsigned_bits(config.lanes),
            input=network.tensor(network.input).bits,
            output=output.bits,
            value=max(numbers["activation"], output.bits, cell_memory.BITS * bool(network.cells)),
            target=target,
            unit=max(1, unsigned_bits(memory.bank - 1)) if network.cells else 0,
            **numbers,
        )
        if walks or latency.operand or latency.maximum:
            walk = roms.loops(loops, address, target, address)
            images |= {"loops": walk} if walk.width else {}
        if latency.functions:
            images["functions"] = roms.functions(network)
        plan = cls(
            network, config, widths, latency, layout_of, memory, schedule, loops, clamps, shift_base, lane_style,
            requant_style, cell_style, images,
        )  # fmt: skip
        addresses = memory.start(plan.loaded) + plan._load_addresses
        if (np.diff(addresses) != 1).any():
            images["input_order"] = roms.input_order(addresses)
        if network.embedding:
            images["embedding"] = roms.embedding(network)
        at_power_up = roms.power_up(network, memory, widths.activation)
        if at_power_up:
            images["activations"] = at_power_up
        if network.cells:
            images |= {"cell_state": roms.states(network), "cell_tanh": cell_memory.tanh_image()}
        return plan

    @property
    def walks(self) -> bool:
        """Whether a layer has more than one output position."""
        return any(loop.passes > 1 for loop in self.loops)

    @property
    def folds(self) -> int:
        """Greatest log2 of the lanes that share a row."""
        return self.latency.folds

    @property
    def lines(self) -> int:
        """Lines of the longest run."""
        return max(word.run.lines for word in self.schedule.words)

    @property
    def memory_depth(self) -> int:
        """Elements of the activation memory."""
        return self.memory.depth

    @property
    def copies(self) -> int:
        """Copies of the activation memory: one a lane or one for two, and one for what the write-back reads."""
        lanes = -(-self.config.lanes // (1 + self.latency.shared))
        return lanes + (self.latency.operand or self.latency.maximum)

    @property
    def loaded(self) -> str:
        """The tensor that is in memory when the first layer starts."""
        return self.memory.loaded

    @property
    def overlapped(self) -> bool:
        """Whether an input comes in while the engine works on the one before."""
        return self.memory.second > 0

    @property
    def index_widths(self) -> list[int]:
        """Bits of an index up to the end of each of the ROMs ``index_0``, ``index_1`` ..."""
        return roms.index_widths(self.schedule.groups)

    @cached_property
    def disjoint(self) -> bool:
        """Whether address of the block and index of the code never have a one in the same place, so that their sum
        is their union."""
        banks = self.memory.second | (self.memory.bank if self.network.cells else 0)
        for group in self.schedule.groups:
            moves = [move for count, move in zip(group.loop.counts, group.loop.read, strict=True) if count > 1]
            for run in group.runs:
                starts = [run.base, banks, *moves, run.pitch * (run.lines > 1)]
                starts += [run.level.block] * (run.codes > run.level.kept)
                if any(start % (1 << group.index_bits) for start in starts):
                    return False
        return True

    @property
    def stream_order(self) -> np.ndarray:
        """``stream_order[beat]``: logical index of the input element that the engine takes in that beat."""
        source = self.network.tensor(self.network.input)
        stored = self.config.input_order == "storage" and not self.network.embedding
        return np.argsort(source.position) if stored else np.arange(source.size)

    @property
    def load_order(self) -> np.ndarray:
        """Logical index of each element of the tensor ``loaded``, in the order in which they are written."""
        if self.network.embedding:
            return np.arange(self.network.tensor(self.loaded).size)
        return self.stream_order

    @property
    def load_base(self) -> int:
        """Address of the element that is loaded first."""
        return int(self.memory.start(self.loaded) + self._load_addresses[0])

    @cached_property
    def _load_addresses(self) -> np.ndarray:
        return self.layouts[self.loaded].elements(self.network.tensor(self.loaded))[self.load_order]

    @property
    def input_size(self) -> int:
        """Elements of the input of a step."""
        return self.network.tensor(self.network.input).size

    @property
    def output_size(self) -> int:
        return self.network.tensor(self.network.output).size

    @property
    def features(self) -> int:
        """Elements that a symbol becomes; 0 without embedding."""
        return self.network.embedding.table.shape[1] if self.network.embedding else 0

    @property
    def load_cycles(self) -> int:
        """First input element in the loader to last one stored, both included, if no result is in the way."""
        return self.input_size * (1 + self.features)

    @property
    def output_writes(self) -> int:
        """Results of an inference (or step) that go to the output."""
        layers = {n for n, layer in enumerate(self.network.layers) if layer.output == self.network.output}
        return sum(len(group.rows) * group.loop.passes for group in self.schedule.groups if group.layer in layers)

    @property
    def output_banks(self) -> int:
        """Outputs that there is room for."""
        return self.timing.output_banks

    @cached_property
    def timing(self) -> Timing:
        """When what happens at the ports."""
        sizes = self.load_cycles, self.features, self.output_size
        return Timing.of(self.network, self.schedule, self.latency, self.overlapped, *sizes)

    @property
    def compute_cycles(self) -> int:
        """Last input element stored to the first output element offered, if the engine waits for nothing else. An
        element is stored when it enters the loader, a symbol when all its features are."""
        return self.latency.start + self.timing.offer

    @cached_property
    def latency_cycles(self) -> int:
        """First input element to last output element of one inference (or step), both included, no stalls."""
        return self.timing.latency_of(1)

    @cached_property
    def interval_cycles(self) -> int:
        """Cycles from one inference (or step) to the next, back to back, no stalls."""
        return self.timing.interval_of(1)

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates / (lanes x cycles), loading, fill and drain included."""
        return self.network.macs / (self.config.lanes * self.interval_cycles)

    @property
    def stored_bits(self) -> int:
        """All ROM bits that depend on the network."""
        return sum(image.bits for image in self.images.values())

    @property
    def stored_bits_per_weight(self) -> float:
        return self.stored_bits / max(self.network.kept, 1)

    @property
    def code_bits(self) -> int:
        """Bits of weights and indices, null codes included."""
        return sum(image.bits for name, image in self.images.items() if name == "weights" or name.startswith("index_"))

    @property
    def ideal_code_bits(self) -> int:
        """Sum over kept weights of (weight bits + block bits): codes cannot be smaller."""
        ideal = 0
        for layer in self.network.layers:
            counts = np.bincount(layer.row_level, minlength=len(layer.levels))
            for level, rows in zip(layer.levels, counts, strict=True):
                kept = sum(level.weights(segment.length) for segment in layer.segments)
                ideal += int(rows) * kept * (layer.weight_bits + level.bits)
        return ideal

    @property
    def index_overhead(self) -> float:
        """Stored code bits / sum over kept weights of (weight bits + block bits): 1.00 is the limit."""
        return self.code_bits / max(self.ideal_code_bits, 1)

    @cached_property
    def body_writes(self) -> int:
        """Results of a step of a sequence that is not its last."""
        if self.network.emit != "last" or not self.network.tail:
            return len(self.writes.layer)
        return int((self.writes.layer < self.network.tail).sum())

    @cached_property
    def writes(self) -> Writes:
        """What is on the write port, in order."""
        return writes_of(self.network, self.schedule, self.memory, self.images["rows"])

    def layer_table(self) -> list[dict]:
        """Per layer: rows, positions, groups, steps, idle cycles up to the next layer, utilisation."""
        table, spans = [], self.schedule.spans
        stops = [span.start for span in spans[1:]] + [self.schedule.period]
        for number, layer in enumerate(self.network.layers):
            mine = [group for group in self.schedule.groups if group.layer == number]
            steps = sum(group.steps * group.loop.passes for group in mine)
            cycles = stops[number] - spans[number].start
            table.append(
                {
                    "layer": layer.name,
                    "rows": layer.rows,
                    "columns": layer.columns,
                    "positions": layer.position_count,
                    "at once": 1 + max(int(group.places.max()) for group in mine),
                    "fold": 1 << max(group.fold for group in mine),
                    "kept": layer.kept,
                    "groups": len(mine),
                    "steps": steps,
                    "idle": cycles - steps,
                    "utilisation": layer.macs / (self.config.lanes * cycles),
                }
            )
        return table

    def memory_table(self) -> list[dict]:
        """Memory map of the activation memory: a row a region."""
        return [
            {
                "tensor": region.tensor,
                "start": region.start,
                "size": region.size,
                "shape": list(region.layout.shape),
                "padding": list(region.layout.padding),
                "first": region.first,
                "last": region.last,
            }
            for region in sorted(self.memory.regions.values(), key=lambda region: (region.first, region.start))
        ]


def _schedule(
    network: EncodedNetwork, config: EngineConfig, layout_of: dict[str, Layout], memory: MemoryMap, latency: Latency
) -> tuple[Schedule, Latency]:
    """The schedule, and the latency with what it needs: folds, rows in which groups are held."""

    def make(latency: Latency) -> tuple[Schedule, Latency]:
        rules = {"unroll_max": config.unroll, "quiet": latency.shared}
        parts = network, config.lanes, layout_of, memory
        schedule = make_schedule(*parts, latency, fold_max=latency.folds, **rules)
        latency = replace(latency, folds=max(group.fold for group in schedule.groups))
        if not latency.folds:  # nothing to add up: a stage less
            schedule = make_schedule(*parts, latency, **rules)
        return schedule, latency

    found = make(latency)
    for held in _HELD if not latency.shared and _waits_for_drain(found[0]) else ():
        more = make(replace(latency, held=held))
        if more[0].period < found[0].period * (1 - _HELD_GAIN):
            found = more
    return found


def _waits_for_drain(schedule: Schedule) -> bool:
    """Whether a group is shorter than the drain of the one before."""
    return any(
        before.layer == group.layer and before.loop.passes == group.loop.passes == 1 and before.drain > group.lead
        for before, group in pairwise(schedule.groups)
    )


def _clamp(network: EncodedNetwork, layer) -> tuple[int, int]:
    tensor = network.tensor(layer.output)
    return layer.clamp or (tensor.qmin, tensor.qmax)
