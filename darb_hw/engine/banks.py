"""Activation fetch where lanes compute neighbouring positions: each lane has a bank of every map."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import PairedRam, Ram
from darb_hw.device.pipeline import delay, fanout_to
from darb_hw.engine.bursts import Bursts
from darb_hw.engine.planned import Planned
from darb_hw.engine.step import step_layout
from darb_hw.engine.writeback import write_layout
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan

__all__ = ["Banks"]

_LANES_PER_COPY = 8


class Banks(Planned):
    """The lanes of a stream take one code. It names a channel of a tap: a pixel at a fixed distance from each lane's
    position. These pixels stand in neighbouring banks, one behind the other. So they get to the lanes by a rotation.
    The banks that the rotation takes around the end read one tile further than the others.

    Lanes whose pixel lies outside the map get a zero.

    In single-port RAMs stand two banks each (:mod:`darb_hw.plan.pairs`). Steps have their address; it is that of
    a burst where there is no step.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    step : In(step_layout(plan))
        Of it: base, tap, tile; valid, if banks are in single-port RAMs.
    index, column : In(ArrayLayout(unsigned, streams))
        ``plan.latency.index`` cycles after the step: channel behind the base, and taps behind that of the step.
        ``column`` is there only if the plan has any.
    write : In(ArrayLayout(write_layout(plan), ways))
        What is written, by port. It is in the memories ``plan.latency.visible`` cycles later.
    activation : Out(ArrayLayout(signed, lanes))
        ``latency`` cycles after the step. Lanes of a stream are side by side.
    """

    has_roms = True
    step: data.View
    index: data.View
    write: data.View
    activation: data.View
    column: data.View

    def __init__(self, plan: Plan) -> None:
        config, widths = plan.config, plan.widths
        column = plan.images["columns"].fields[0].width if "columns" in plan.images else 0
        super().__init__(
            plan,
            {
                "step": In(step_layout(plan)),
                "index": In(data.ArrayLayout(unsigned(max(1, widths.index)), config.streams)),
                "write": In(data.ArrayLayout(write_layout(plan), config.ways)),
                "activation": Out(data.ArrayLayout(signed(widths.activation), config.lanes)),
            }
            | ({"column": In(data.ArrayLayout(unsigned(column), config.streams))} if column else {}),
        )

    @property
    def latency(self) -> int:
        latency = self._plan.latency
        return latency.fetch + latency.activation + latency.rotate

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan = self._plan
        kind = self._kind(m)
        bursts = self._bursts(m) if plan.latency.paired else None
        lookups = plan.config.streams if "columns" in plan.images else 1
        taps = [self._look_up(m, stream, kind) for stream in range(lookups)]
        for stream in range(plan.config.streams):
            tap, masks = taps[min(stream, lookups - 1)]
            given = self._read(m, stream, tap, bursts)
            self._rotate(m, stream, tap, given, masks)
        return m

    def _kind(self, m: Module) -> Value:
        """The kind of the tile, with the word of the tap."""
        latency = self._plan.latency
        m.submodules.tiles = tiles = self._rom(m, "tiles")
        m.d.comb += tiles.address.eq(self.step.tile)
        return delay(m, tiles.field("kind"), latency.index + 1 + latency.taps - tiles.latency, "kind")

    def _look_up(self, m: Module, stream: int, kind: Value) -> tuple[dict[str, Value], list[Value]]:
        """The word of the tap, and the mask of each lane: with the last stage of the rotation."""
        latency = self._plan.latency
        step_tap = delay(m, self.step.tap, latency.index, f"tap_{stream}")
        number = Signal.like(self.step.tap, name=f"number_{stream}", reset_less=True)
        m.d.sync += number.eq(step_tap + self.column[stream] if "columns" in self._plan.images else step_tap)
        m.submodules[f"taps_{stream}"] = taps = self._rom(m, "taps")
        m.d.comb += taps.address.eq(number)
        # Registers behind the ROM, which can stand far away.
        way = latency.taps - taps.latency
        names = ("near", "far", "rotation", "mask")
        word = {name: delay(m, taps.field(name), way, f"{name}_{stream}") for name in names}
        m.submodules[f"masks_{stream}"] = masks = self._rom(m, "masks")
        # A register, the ROM, and a register behind it. The mask is there a cycle before the last stage has its result.
        wait = self.latency - 1 - latency.index - 1 - latency.taps - 1 - masks.latency - 1
        mask_address = Signal.like(masks.address, name=f"mask_address_{stream}", reset_less=True)
        m.d.sync += mask_address.eq(word["mask"] + kind)
        m.d.comb += masks.address.eq(delay(m, mask_address, wait, f"mask_address_{stream}"))
        lanes = range(self._plan.config.banks)
        return word, [delay(m, masks.field("mask", lane), 1, f"mask_{stream}_{lane}") for lane in lanes]

    def _bursts(self, m: Module) -> Bursts:
        """What is written to single-port RAMs, where no lane reads."""
        latency = self._plan.latency
        m.submodules.bursts = bursts = Bursts(self._plan)
        reads = delay(m, self.step.valid, latency.fetch - 1, "reads", control=True)
        m.d.comb += [bursts.write.eq(self.write[0]), bursts.idle.eq(~reads)]
        # The burst waits, the register of the address.
        assert latency.spread == latency.gather + 1
        return bursts

    def _read(self, m: Module, stream: int, tap: dict[str, Value], bursts: Bursts | None) -> list[Value]:
        """What each bank of a stream gives."""
        plan, latency = self._plan, self._plan.latency
        banks, ways, bits = plan.config.banks, plan.config.ways, plan.widths.address
        base = delay(m, self.step.base, latency.index, f"base_{stream}")
        sum_ = Signal(bits, name=f"sum_{stream}", reset_less=True)
        m.d.sync += sum_.eq(base + self.index[stream])
        sum_ = delay(m, sum_, latency.taps, f"sum_{stream}")
        near, far = (Signal(bits, name=f"{name}_{stream}", reset_less=True) for name in ("near", "far"))
        m.d.sync += [near.eq(sum_ + tap["near"]), far.eq(sum_ + tap["far"])]
        rotation = delay(m, tap["rotation"], 1, f"turn_{stream}")
        # Number and word of the tap, sums, the choice, a register for some banks each.
        assert latency.fetch == latency.index + 1 + latency.taps + 1 + 1 + 1
        if bursts is not None:
            return self._read_pairs(m, stream, near, far, rotation, bursts)
        addresses = self._addresses(m, stream, near, far, rotation)
        writes = [self._write(m, stream, way) for way in range(ways)]
        given = []
        for bank in range(banks):
            m.submodules[f"bank_{stream}_{bank}"] = memory = Ram(plan.widths.activation, plan.memory_depth)
            enables, values = writes[bank % ways]
            m.d.comb += [
                memory.write_enable.eq(enables[bank // ways]),
                Cat(memory.write_address, memory.write_data).eq(values[bank // ways]),
                memory.read_enable.eq(1),
                memory.output_enable.eq(1),
                memory.read_address.eq(addresses[bank]),
            ]
            given.append(memory.read_data)
            assert memory.latency == latency.activation
        return given

    def _read_pairs(
        self, m: Module, stream: int, near: Value, far: Value, rotation: Value, bursts: Bursts
    ) -> list[Value]:
        """The same from single-port RAMs. Both banks of a pair read what the second one wants."""
        plan, made = self._plan, self._plan.rotation
        bits = plan.widths.activation
        assert made is not None
        rotations = {int(word): made.by(int(word)) for word in plan.images["taps"].field("rotation")}
        given: list[Value] = []
        for pair in range(plan.config.banks // 2):
            name = f"pair_{stream}_{pair}"
            further = [word for word, by in rotations.items() if by > 2 * pair + 1]
            read = Signal(len(near), name=f"{name}_read", reset_less=True)
            m.submodules[name] = memory = PairedRam(bits, plan.memory_depth)
            address = Signal.like(memory.address, name=f"{name}_address", reset_less=True)
            enable, value = Signal(2, name=f"{name}_enable"), Signal(2 * bits, name=f"{name}_data", reset_less=True)
            banks = slice(2 * pair, 2 * pair + 2)
            m.d.sync += [
                read.eq(Mux(rotation.matches(*further), far, near) if further else near),
                address.eq(Mux(bursts.idle, bursts.o.address[pair], read)),
                enable.eq(bursts.o.enable[banks]),
                value.eq(Cat(bursts.o.data[bank] for bank in range(banks.start, banks.stop))),
            ]
            m.d.comb += [
                memory.address.eq(address),
                memory.write_enable.eq(enable),
                memory.write_data.eq(value),
            ]
            given += [memory.read_data[:bits], memory.read_data[bits:]]
            assert memory.latency == plan.latency.activation
        return given

    def _write(self, m: Module, stream: int, way: int) -> tuple[list[Value], list[Value]]:
        """Of each bank that a port serves: whether it is written, and address and value."""
        plan, spread, port = self._plan, self._plan.latency.spread, self.write[way]
        banks = plan.config.banks // plan.config.ways
        name = f"write_{stream}_{way}"
        target = Cat(port.enable, port.bank)
        targets = fanout_to(m, target, banks, _LANES_PER_COPY, f"{name}_bank", cycles=spread - 1)
        enables: list[Value] = []
        for bank, target in enumerate(targets):
            enable = Signal(name=f"{name}_{bank}")
            m.d.sync += enable.eq(target[0] & (target[1:] == bank))
            enables.append(enable)
        # The memory may be less deep than its address has bits.
        address = port.address[: max(1, unsigned_bits(plan.memory_depth - 1))]
        values = fanout_to(m, Cat(address, port.data), banks, _LANES_PER_COPY // 2, name, cycles=spread)
        return enables, values

    def _addresses(self, m: Module, stream: int, near: Value, far: Value, rotation: Value) -> list[Value]:
        """The address of each bank: ``far`` for as many of the first banks as are rotated by, ``near`` for the others.

        The rotations cut the banks into parts that always read together. The choice is made for each part.
        """
        made, banks = self._plan.rotation, self._plan.config.banks
        assert made is not None
        rotations = {int(bits): made.by(int(bits)) for bits in self._plan.images["taps"].field("rotation")}
        addresses: list[Value] = []
        for start, end in pairwise([*sorted({0, *rotations.values()}), banks]):
            further = [bits for bits, by in rotations.items() if by > start]
            address = Signal(len(near), name=f"address_{stream}_{start}", reset_less=True)
            m.d.sync += address.eq(Mux(rotation.matches(*further), far, near) if further else near)
            addresses += fanout_to(m, address, end - start, _LANES_PER_COPY, f"address_{stream}_{start}")
        return addresses

    def _rotate(self, m: Module, stream: int, tap: dict[str, Value], given: list[Value], masks: list[Value]) -> None:
        """Rotates what the banks give, by two stages a register, and masks it."""
        plan, latency = self._plan, self._plan.latency
        rotation, banks = plan.rotation, plan.config.banks
        assert rotation is not None
        given = [delay(m, value, 1, f"given_{stream}_{bank}") for bank, value in enumerate(given)]
        values = [given[(lane + rotation.fixed) % banks] for lane in range(banks)]
        stages = list(enumerate(rotation.stages))
        # What the banks give is there this much later than the word of the tap.
        wait = latency.fetch + latency.activation - latency.index - latency.taps
        turns = latency.rotate - 1
        for turn in range(turns):
            last = turn == turns - 1
            for bit, by in stages[2 * turn : 2 * turn + 2]:
                late = delay(m, tap["rotation"][bit], wait + turn - 1, f"rotate_{stream}_{bit}")
                steers = fanout_to(m, late, banks, _LANES_PER_COPY, f"rotate_{stream}_{bit}")
                values = [Mux(steers[lane], values[(lane + by) % banks], values[lane]) for lane in range(banks)]
            following = []
            for lane, value in enumerate(values):
                register = Signal(plan.widths.activation, name=f"rotated_{stream}_{lane}_{turn}", reset_less=True)
                m.d.sync += register.eq(Mux(masks[lane], value, 0) if last else value)
                following.append(register)
            values = following
        for lane, value in enumerate(values):
            m.d.comb += self.activation[stream * banks + lane].eq(value.as_signed())
