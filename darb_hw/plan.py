"""(EncodedNetwork, EngineConfig) -> Plan: every width, depth, address, schedule, cycle count and ROM word.

No Amaranth here: a plan can be made, printed and compared before any hardware exists, and the components
receive nothing else.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.image import Field, Image, pack, signed_bits, unsigned_bits
from darb_hw.memory_map import Region, depth_of, memory_map
from darb_hw.schedule import Group, Latency, Word, groups_of, pad_groups, words_of
from darb_prune.encoded import DarbError, EncodedNetwork

__all__ = ["MultiplierStyle", "Plan", "PlanError", "Widths", "limbs_of"]


class PlanError(DarbError):
    """The network and the configuration do not go together."""


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
    row : int
        Rows of a group, 0 to lanes.
    input, output : int
        Elements of the streams.
    """

    weight: int
    index: int
    activation: int
    address: int
    accumulator: int
    biased: int
    mult: int
    shift: int
    row: int
    input: int
    output: int

    @property
    def code(self) -> int:
        return self.weight + self.index


@dataclass(frozen=True)
class MultiplierStyle:
    """How a multiplier is built: its ``b`` operand is cut into limbs, each partial product is registered, and a
    registered tree of adders joins them. On DSP blocks the operands are registered too: a DSP block and the block
    RAM that feeds it can stand far apart.

    Parameters
    ----------
    dsp : bool
        Partial products are left to the DSP blocks of the device; else each is an adder over two bits.
    limb : int
        Bits of a limb.
    limbs : int
    """

    dsp: bool
    limb: int
    limbs: int

    @property
    def latency(self) -> int:
        return self.dsp + 1 + unsigned_bits(self.limbs - 1)


def limbs_of(width: int, dsp: bool, dsp_bits: int) -> MultiplierStyle:
    """Style for a signed operand of ``width`` bits; a DSP block takes ``dsp_bits - 1`` bits of an inner limb."""
    if not dsp:
        return MultiplierStyle(False, 2, -(-width // 2))
    if width <= dsp_bits:
        return MultiplierStyle(True, width, 1)
    return MultiplierStyle(True, dsp_bits - 1, -(-width // (dsp_bits - 1)))


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything derived from a network and a configuration. Make one with :meth:`Plan.make`.

    Parameters
    ----------
    regions : dict of str to Region
        Memory map of the activation memory.
    groups : tuple of Group
        All groups in order of execution, idle cycles included.
    words : tuple of Word
        The program.
    clamps : tuple of (int, int)
        Distinct ranges ``(qmin, qmax)`` of layer outputs; a row names one by its number.
    shift_base : int
        Least shift of all rows.
    lane_style, requant_style : MultiplierStyle
    images : dict of str to Image
        ROM contents: ``codes``, ``program``, ``rows`` and, if the input is put into storage order, ``input_order``.
    """

    network: EncodedNetwork
    config: EngineConfig
    widths: Widths
    latency: Latency
    regions: dict[str, Region]
    groups: tuple[Group, ...]
    words: tuple[Word, ...]
    clamps: tuple[tuple[int, int], ...]
    shift_base: int
    lane_style: MultiplierStyle
    requant_style: MultiplierStyle
    images: dict[str, Image]

    @classmethod
    def make(cls, network: EncodedNetwork, config: EngineConfig) -> "Plan":
        """Derive the plan.

        Raises
        ------
        PlanError
            If this network cannot run with this configuration.
        """
        for layer in network.layers:
            if any(segment.tensor == network.output for segment in layer.segments):
                raise PlanError(
                    f"layer {layer.name!r} reads tensor {network.output!r}, which is the output of the network and "
                    "leaves the engine; give the network an output that no layer reads"
                )
        regions = memory_map(network)
        widths, shift_base = _widths(network, config, regions)
        lane_style, requant_style = _styles(config, widths)
        latency = Latency(lane_style.latency, requant_style.latency)
        base = {name: region.start for name, region in regions.items()}
        groups = [g for number in range(len(network.layers)) for g in groups_of(network, number, config.lanes, base)]
        groups = pad_groups(groups, latency)
        words = words_of(groups)
        outputs = [network.tensor(layer.output) for layer in network.layers]
        clamps = tuple(sorted({(t.qmin, t.qmax) for t in outputs}))
        images = {
            "codes": _codes(network, groups, config.lanes, widths),
            "program": _program(words, widths),
            "rows": _rows(network, groups, regions, clamps, shift_base, widths),
        }
        source = network.tensor(network.input)
        if config.input_order == "logical" and not np.array_equal(source.position, np.arange(source.size)):
            position = regions[network.input].start + source.position
            images["input_order"] = pack("input_order", {Field("address", widths.address): position})
        return cls(
            network, config, widths, latency, regions, tuple(groups), tuple(words), clamps, shift_base, lane_style,
            requant_style, images,
        )  # fmt: skip

    @property
    def memory_depth(self) -> int:
        """Elements of the activation memory."""
        return depth_of(self.regions)

    @property
    def stream_order(self) -> np.ndarray:
        """``stream_order[beat]``: logical index of the input element that the engine takes in that beat."""
        source = self.network.tensor(self.network.input)
        stored = self.config.input_order == "storage" and source.order is not None
        return source.order if stored else np.arange(source.size)

    @property
    def input_size(self) -> int:
        return self.network.tensor(self.network.input).size

    @property
    def output_size(self) -> int:
        return self.network.tensor(self.network.output).size

    @cached_property
    def run_cycles(self) -> int:
        """Start of the sequencer to the last result on the write port."""
        last = self.groups[-1]
        steps = sum(run.steps + run.pad for group in self.groups for run in group.runs) - last.runs[-1].pad
        return self.latency.issue + steps - 1 + self.latency.drain + len(last.rows) - 1

    @property
    def compute_cycles(self) -> int:
        """Last input element accepted (or last output of the inference before, if that is later) to the first
        output element offered."""
        return self.latency.start + self.run_cycles + self.latency.send

    @property
    def latency_cycles(self) -> int:
        """First input element to last output element of one inference, both included, no stalls."""
        return self.input_size + self.compute_cycles + self.output_size - 1

    @property
    def interval_cycles(self) -> int:
        """Cycles from one inference to the next, back to back, no stalls."""
        stream = max(self.input_size, self.latency.send + self.output_size - 1)
        return self.latency.start + self.run_cycles + stream

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates / (lanes x cycles), loading, fill and drain included."""
        return self.network.kept / (self.config.lanes * self.interval_cycles)

    @property
    def stored_bits(self) -> int:
        """All ROM bits that depend on the network."""
        return sum(image.bits for image in self.images.values())

    @property
    def stored_bits_per_weight(self) -> float:
        return self.stored_bits / max(self.network.kept, 1)

    @property
    def index_overhead(self) -> float:
        """Stored code bits / sum over kept weights of (weight bits + block bits): 1.00 is the limit."""
        ideal = 0
        for layer in self.network.layers:
            counts = np.bincount(layer.row_level, minlength=len(layer.levels))
            for level, rows in zip(layer.levels, counts, strict=True):
                kept = sum(level.weights(segment.length) for segment in layer.segments)
                ideal += int(rows) * kept * (layer.weight_bits + level.bits)
        return self.images["codes"].bits / max(ideal, 1)

    @property
    def schedule(self) -> list[tuple[int, int]]:
        """(layer, row) in the order of write-back."""
        return [(group.layer, int(row)) for group in self.groups for row in group.rows]

    def layer_table(self) -> list[dict]:
        """Per layer: rows, groups, steps, idle cycles, utilisation within the layer."""
        table = []
        for number, layer in enumerate(self.network.layers):
            mine = [group for group in self.groups if group.layer == number]
            steps = sum(group.steps for group in mine)
            idle = sum(run.pad for group in mine for run in group.runs)
            if mine[-1] is self.groups[-1]:
                idle += self.latency.drain + len(mine[-1].rows) - 1 - mine[-1].runs[-1].pad
            table.append(
                {
                    "layer": layer.name,
                    "rows": layer.rows,
                    "columns": layer.columns,
                    "kept": layer.kept,
                    "groups": len(mine),
                    "steps": steps,
                    "idle": idle,
                    "utilisation": layer.kept / (self.config.lanes * (steps + idle)),
                }
            )
        return table


def _widths(network: EncodedNetwork, config: EngineConfig, regions: dict[str, Region]) -> tuple[Widths, int]:
    used = {layer.levels[i] for layer in network.layers for i in np.unique(layer.row_level)}
    low = high = biased_low = biased_high = 0
    for layer in network.layers:
        least, greatest = network.accumulator_bounds(layer)
        low, high = min(low, int((least - layer.bias).min())), max(high, int((greatest - layer.bias).max()))
        biased_low, biased_high = min(biased_low, int(least.min())), max(biased_high, int(greatest.max()))
    shifts = np.concatenate([layer.shift for layer in network.layers]).astype(int)
    return Widths(
        weight=max(layer.weight_bits for layer in network.layers),
        index=max(level.bits for level in used),
        activation=max(network.tensor(name).bits for name in regions),
        address=max(1, unsigned_bits(depth_of(regions) - 1)),
        accumulator=signed_bits(low, high),
        biased=max(signed_bits(biased_low, biased_high), signed_bits(low, high)),
        mult=max(1, unsigned_bits(max(int(layer.mult.max()) for layer in network.layers))),
        shift=unsigned_bits(int(shifts.max() - shifts.min())),
        row=unsigned_bits(config.lanes),
        input=network.tensor(network.input).bits,
        output=network.tensor(network.output).bits,
    ), int(shifts.min())


def _styles(config: EngineConfig, widths: Widths) -> tuple[MultiplierStyle, MultiplierStyle]:
    device = config.target
    lane = limbs_of(widths.weight, True, device.dsp_bits)
    requant = limbs_of(widths.biased, True, device.dsp_bits)
    lane_dsp = config.lane_multiplier == "dsp" or (config.lane_multiplier == "auto" and config.lanes <= device.dsps)
    left = device.dsps - config.lanes * lane_dsp
    # The other operand is mult with a sign bit: wider than an operand of the block, it would take four of them.
    narrow = widths.mult + 1 <= device.dsp_bits
    if config.requant_multiplier == "dsp" and not narrow:
        raise PlanError(f"mult has {widths.mult} bits, too wide for the DSP blocks of {device.name}: choose lut")
    requant_dsp = config.requant_multiplier == "dsp" or (
        config.requant_multiplier == "auto" and narrow and requant.limbs <= left
    )
    needed = config.lanes * lane_dsp + requant.limbs * requant_dsp
    if needed > device.dsps:
        raise PlanError(
            f"{needed} DSP blocks needed, {device.name} has {device.dsps}: choose fewer lanes or multiplier lut"
        )
    if not lane_dsp:
        lane = limbs_of(widths.weight, False, device.dsp_bits)
    if not requant_dsp:
        requant = limbs_of(widths.mult + 1, False, device.dsp_bits)
    return lane, requant


def _codes(network: EncodedNetwork, groups: list[Group], lanes: int, widths: Widths) -> Image:
    total = sum(group.steps for group in groups)
    index, weight = np.zeros((total, lanes), np.uint16), np.zeros((total, lanes), np.int8)
    at = 0
    for group in groups:
        if group.coded:
            codes = network.layers[group.layer].codes_of(group.rows[: group.coded])
            index[at : at + group.steps, : group.coded] = codes[0].T
            weight[at : at + group.steps, : group.coded] = codes[1].T
        at += group.steps
    fields = {Field("index", widths.index): index, Field("weight", widths.weight, signed=True): weight}
    return pack("codes", fields, copies=lanes)


def _program(words: list[Word], widths: Widths) -> Image:
    def unsigned(name, values, width=None):
        values = np.array([int(value) for value in values])
        return Field(name, unsigned_bits(values.max()) if width is None else width), values

    return pack(
        "program",
        dict(
            [
                unsigned("base", (w.run.base for w in words), widths.address),
                unsigned("steps", (w.run.steps - 1 for w in words)),
                unsigned("bits", (w.run.level.bits for w in words)),
                unsigned("kept", (w.run.level.kept - 1 for w in words)),
                unsigned("pad", (w.run.pad for w in words)),
                unsigned("repeat", (w.repeat for w in words)),
                unsigned("rows", (w.rows for w in words), widths.row),
                unsigned("first", (w.first for w in words), 1),
                unsigned("last", (w.last for w in words), 1),
                unsigned("end", (w.end for w in words), 1),
            ]
        ),
    )


def _rows(
    network: EncodedNetwork,
    groups: list[Group],
    regions: dict[str, Region],
    clamps: tuple[tuple[int, int], ...],
    shift_base: int,
    widths: Widths,
) -> Image:
    columns: dict[str, list[np.ndarray]] = {}
    for group in groups:
        layer = network.layers[group.layer]
        tensor = network.tensor(layer.output)
        leaves = layer.output == network.output
        start = 0 if leaves else regions[layer.output].start if layer.output in regions else None
        if start is None:
            raise PlanError(f"layer {layer.name!r}: nobody reads its output {layer.output!r}; remove the layer")
        count = len(group.rows)
        for name, values in (
            ("bias", layer.bias[group.rows]),
            ("mult", layer.mult[group.rows]),
            ("shift", layer.shift[group.rows].astype(int) - shift_base),
            ("clamp", np.full(count, clamps.index((tensor.qmin, tensor.qmax)))),
            ("output", np.full(count, int(leaves))),
            ("address", start + tensor.position[group.rows]),
        ):
            columns.setdefault(name, []).append(values)
    flat = {name: np.concatenate(parts) for name, parts in columns.items()}
    return pack(
        "rows",
        {
            Field("bias", signed_bits(int(flat["bias"].min()), int(flat["bias"].max())), signed=True): flat["bias"],
            Field("mult", widths.mult): flat["mult"],
            Field("shift", widths.shift): flat["shift"],
            Field("clamp", unsigned_bits(len(clamps) - 1)): flat["clamp"],
            Field("output", 1): flat["output"],
            Field("address", unsigned_bits(flat["address"].max())): flat["address"],
        },
    )
