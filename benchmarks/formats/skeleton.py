"""The engine around a decoder: a matrix times vectors, raw sums out.

Formats differ in the decoder, the contents of the code ROMs, and the number of steps of a group, and in nothing else.

    program ROM ─► sequencer ─► index ROMs ─► decoder ─► activations ─► multiplier ─► sum ─► shadow row ─► out
                         └────► weight ROM (read so much later that nothing has to wait for the activation)

Lanes whose addresses are the same share a copy of the activations. Sums leave in chains of 16 lanes, one a cycle from
each, while the next group runs.
"""

from itertools import pairwise

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from benchmarks.formats.decoders import Decoder, decoder_of, group_fields
from benchmarks.formats.encodings import Encoded
from darb_hw.device.memory import FileMemories, Ram, Rom
from darb_hw.device.modules import MODULES
from darb_hw.device.multiplier import Multiplier
from darb_hw.device.pipeline import delay, fanout_to
from darb_hw.plan.image import Field, Image, pack, signed_bits, unsigned_bits
from darb_hw.plan.styles import limbs_of

__all__ = ["CHAIN", "Skeleton", "cycles", "images", "stored_bits"]

CHAIN = 16
"""Lanes that hand out their sums one after another."""
CLUSTER = 8
"""Lanes or memories that a control register of their own serves."""
WEIGHT_BITS = ACTIVATION_BITS = 8
_TURN_MIN = 4  # the next word of the program is on its way


def images(encoded: Encoded) -> dict[str, Image]:
    """Contents of the ROMs: everything that depends on the matrix.

    Index planes (bits of the index) that only groups of larger blocks need are as deep as the steps of those groups,
    which come first.
    """
    steps = encoded.steps
    fields = {"steps": steps - 2, "end": np.arange(len(steps)) == len(steps) - 1}
    turn = _turns(encoded)
    if (turn != steps).any():
        fields["turn"] = turn - 2
    fields |= {name: np.array(values) for name, values in group_fields(encoded).items()}
    program = {
        Field(name, *_width(name, values.astype(np.int64))): values.astype(np.int64) for name, values in fields.items()
    }
    contents = {"program": pack("program", program)}
    weights = {Field("weight", WEIGHT_BITS, True): encoded.weights}
    contents["weights"] = pack("weights", weights, encoded.lanes)
    for low, high, depth in _planes(encoded):
        values = encoded.index[:depth] >> low & (1 << high - low) - 1
        contents[f"index{low}"] = pack(f"index{low}", {Field("index", high - low): values}, encoded.copies)
    return contents


def _turns(encoded: Encoded) -> np.ndarray:
    """Cycles from the first step of each group to that of the next.

    The sums of a group must have left when those of the next group are ready.
    """
    waits = np.maximum(min(encoded.lanes, CHAIN) - np.append(encoded.steps[1:], CHAIN), 0)
    return np.maximum(encoded.steps + waits, _TURN_MIN)


def _width(name: str, values: np.ndarray) -> tuple[int, bool]:
    if name in ("steps", "turn"):
        return signed_bits(min(int(values.min()), 0), int(values.max())), True
    return unsigned_bits(int(values.max())), False


def _planes(encoded: Encoded) -> list[tuple[int, int, int]]:
    """First bit, end of the bits, and number of words of each index ROM."""
    if not encoded.index_bits:
        return []
    if encoded.kind != "level":
        return [(0, encoded.index_bits, len(encoded.index))]
    edges = sorted({0, *encoded.group_levels[:, 0].tolist()})
    return [(low, high, int(encoded.steps[encoded.group_levels[:, 0] >= high].sum())) for low, high in pairwise(edges)]


def cycles(encoded: Encoded) -> int:
    """From the first step to the last, waits between short groups included."""
    return int(_turns(encoded)[:-1].sum() + encoded.steps[-1])


def stored_bits(encoded: Encoded) -> int:
    """Bits of all ROMs."""
    return sum(image.bits for image in images(encoded).values())


class Skeleton(wiring.Component):
    """Multiplies the matrix with the vector of a region.

    Parameters
    ----------
    encoded : Encoded
    accumulator : int
        Bits of a sum.
    dsp : bool
        Multipliers on DSP blocks.

    Members
    -------
    write_enable, write_address, write_data : In
        Of all copies of the activation memory.
    start : In(1)
        While not ``busy``: begin with the vector of ``region``.
    region : In(unsigned)
        Stands still while ``busy``, and until the last sum is out.
    busy : Out(1)
    valid : Out(1)
        Sums are there: of each group for as many cycles as a chain has lanes, ``total`` cycles from ``start`` to the
        last of them.
    sums : Out(ArrayLayout(signed, chains))
        Lane ``CHAIN * chain + n`` in the ``n``-th cycle of a group.
    """

    write_enable: Signal
    write_address: Signal
    write_data: Signal
    start: Signal
    region: Signal
    busy: Signal
    valid: Signal
    sums: data.View

    def __init__(self, encoded: Encoded, accumulator: int, dsp: bool = True) -> None:
        self._encoded, self._accumulator = encoded, accumulator
        self._style = limbs_of(WEIGHT_BITS, dsp, 18)
        self._images = images(encoded)
        self._decoder = decoder_of(encoded)
        self._address = len(self._decoder.address[0])
        self._chains = -(-encoded.lanes // CHAIN)
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(self._address),
                "write_data": In(signed(ACTIVATION_BITS)),
                "start": In(1),
                "region": In(len(self._decoder.region)),
                "busy": Out(1),
                "valid": Out(1),
                "sums": Out(data.ArrayLayout(signed(accumulator), self._chains)),
            }
        )

    @property
    def encoded(self) -> Encoded:
        return self._encoded

    @property
    def images(self) -> dict[str, Image]:
        return self._images

    @property
    def memory_depth(self) -> int:
        """Words of a copy of the activation memory."""
        return 1 << self._address

    @property
    def latency(self) -> int:
        """Last step of a group to its first sums."""
        return self._to_product + 2  # sum, shadow row

    @property
    def total(self) -> int:
        """Start to the last sums."""
        return cycles(self._encoded) + self.latency + min(CHAIN, self._encoded.lanes) - 1

    @property
    def _to_code(self) -> int:
        return Rom.latency + 1  # block RAM, register beside the lane

    @property
    def _to_product(self) -> int:
        return self._to_activation + self._style.latency

    @property
    def _to_activation(self) -> int:
        return self._to_code + self._decoder.latency + Ram.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        encoded, decoder = self._encoded, self._decoder
        m.submodules.decoder = decoder
        step = self._sequence(m)

        # Codes: indices first, weights when the activation is there.
        planes = []
        for name, image in self._images.items():
            if name.startswith("index"):
                m.submodules[name] = rom = Rom(image)
                m.d.comb += rom.address.eq(step["address"] >> (encoded.span - 1).bit_length())
                planes.append(rom)
        for copy in range(encoded.copies if planes else 0):
            m.d.sync += decoder.index[copy].eq(Cat(rom.data[copy]["index"] for rom in planes))
        early = self._to_code - decoder.early
        place = step["address"][: (encoded.span - 1).bit_length()]
        drivers = {"first": step["first"], "place": place, "group": step["group"]}
        for name in sorted(drivers.keys() & decoder.signature.members.keys()):
            m.d.comb += getattr(decoder, name).eq(delay(m, drivers[name], early, name))
        m.d.comb += decoder.region.eq(self.region)
        m.submodules.weights = weights = Rom(self._images["weights"])
        late = self._to_activation - self._to_code
        m.d.comb += weights.address.eq(delay(m, step["address"], late, "weight_address"))

        memories = self._memories(m, decoder)
        sums = []
        for lane in range(encoded.lanes):
            m.submodules[f"multiplier_{lane}"] = multiplier = Multiplier(ACTIVATION_BITS, WEIGHT_BITS, self._style)
            weight = Signal(signed(WEIGHT_BITS), name=f"weight_{lane}", reset_less=True)
            total = Signal(signed(self._accumulator), name=f"sum_{lane}", reset_less=True)
            m.d.sync += weight.eq(weights.data[lane]["weight"])
            m.d.comb += [
                multiplier.a.eq(memories[lane * encoded.copies // encoded.lanes].read_data.as_signed()),
                multiplier.b.eq(weight),
            ]
            sums.append((total, multiplier.o))
        self._accumulate(m, sums, step, isinstance(platform, FileMemories))
        return m

    def _sequence(self, m: Module) -> dict:
        """Steps of all groups in turn. Counters end below 0: their sign says so."""
        m.submodules.program = program = Rom(self._images["program"])
        word = program.data[0]
        steps = Signal(signed(len(program.field("steps"))))
        address = Signal(max(1, unsigned_bits(int(self._encoded.steps.sum()) - 1)))
        number = Signal.like(program.address)
        stepping, first, running, end = Signal(), Signal(), Signal(), Signal()
        names = group_fields(self._encoded)
        group = Signal.like(self._decoder.group, reset_less=True) if names else None
        last = stepping & (steps < 0)
        turn, turn_over = None, last
        if any(field.name == "turn" for field in self._images["program"].fields):
            turn = Signal(signed(len(program.field("turn"))))
            turn_over = running & (turn < 0)
            m.d.sync += turn.eq(turn - 1)
        # After the end the first word of the program has to come again.
        settling = Signal(Rom.latency)
        m.d.sync += settling.eq(Cat(running, settling))
        load = Signal()
        m.d.comb += [
            program.address.eq(number),
            self.busy.eq(running | (settling != 0)),
            load.eq(Mux(running, turn_over & ~end, self.start & ~self.busy)),
        ]
        m.d.sync += [first.eq(load), steps.eq(steps - 1)]
        with m.If(stepping):
            m.d.sync += address.eq(address + 1)
        with m.If(last):
            m.d.sync += stepping.eq(0)
        with m.If(turn_over & end):
            m.d.sync += [running.eq(0), number.eq(0), address.eq(0)]
        with m.If(load):
            m.d.sync += [steps.eq(word["steps"]), stepping.eq(1), running.eq(1), end.eq(word["end"])]
            m.d.sync += number.eq(number + 1)
            if group is not None:
                m.d.sync += [group[name].eq(word[name]) for name in names]
            if turn is not None:
                m.d.sync += turn.eq(word["turn"])
        return {"first": first, "last": last, "address": address, "group": group}

    def _memories(self, m: Module, decoder: Decoder) -> list[Ram]:
        write = Cat(self.write_enable, self.write_address, self.write_data)
        writes = fanout_to(m, write, self._encoded.copies, CLUSTER, "write")
        memories = []
        for copy in range(self._encoded.copies):
            m.submodules[f"memory_{copy}"] = memory = Ram(ACTIVATION_BITS, self.memory_depth)
            m.d.comb += [
                Cat(memory.write_enable, memory.write_address, memory.write_data).eq(writes[copy]),
                memory.read_enable.eq(1),
                memory.output_enable.eq(1),
                memory.read_address.eq(decoder.address[copy]),
            ]
            memories.append(memory)
        return memories

    def _accumulate(self, m: Module, sums: list[tuple], step: dict, primitives: bool) -> None:
        """Sums. When a group ends they go to the shadow row, which moves them towards the first lane of each chain."""
        ahead = delay(m, Cat(step["first"], step["last"]), self._to_product - 1, "ends", control=True)
        clears = fanout_to(m, ahead[0], len(sums), CLUSTER, "clear")
        captures = fanout_to(m, delay(m, ahead[1], 1, "capture"), len(sums), CLUSTER, "capture")
        shadow = [
            Signal(signed(self._accumulator), name=f"shadow_{lane}", reset_less=True) for lane in range(len(sums))
        ]
        for lane, (total, product) in enumerate(sums):
            # Idle steps add something as well. It is never seen: the next group clears the sum.
            clear = clears[lane]
            if primitives:
                m.submodules[f"accumulate_{lane}"] = MODULES["darb_accumulate"].instance(
                    {"WIDTH": len(total), "P_WIDTH": len(product)}, enable=1, clear=clear, p=product, o=total
                )
            else:
                m.d.sync += total.eq(Mux(clear, 0, total) + product)
            above = shadow[lane + 1] if (lane + 1) % CHAIN and lane + 1 < len(sums) else 0
            m.d.sync += shadow[lane].eq(Mux(captures[lane], total, above))
        m.d.comb += [self.sums[chain].eq(shadow[chain * CHAIN]) for chain in range(self._chains)]
        # One more than the rows of a chain, counted down: the capture itself, then its rows.
        rows = min(CHAIN, len(sums))
        left = Signal(range(rows + 1))
        captured = delay(m, ahead[1], 2, "captured", control=True)
        with m.If(captured):
            m.d.sync += left.eq(rows)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.comb += self.valid.eq(left != 0)
