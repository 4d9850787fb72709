"""LSTM and GRU cells: gates come in, the new state of a unit is kept, its output goes out; one unit a cycle."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Ram, Rom
from darb_hw.device.multiplier import Multiplier
from darb_hw.device.pipeline import delay
from darb_hw.plan.cell_memory import BITS, GATES, cell_latency, state_half
from darb_hw.plan.image import Image, unsigned_bits
from darb_hw.plan.styles import MultiplierStyle

__all__ = ["CellUnit", "gate_layout", "unit_layout"]


def _unit_bits(units: int) -> int:
    return max(1, unsigned_bits(units - 1))


def gate_layout(units: int) -> data.StructLayout:
    """A gate value. ``bank``: its index in ``GATES``. ``fire``: it is the last gate value of its unit."""
    return data.StructLayout({"valid": 1, "fire": 1, "bank": 2, "unit": _unit_bits(units), "value": signed(BITS)})


def unit_layout(units: int, bits: int) -> data.StructLayout:
    """The output h of a unit."""
    return data.StructLayout({"valid": 1, "unit": _unit_bits(units), "value": signed(bits)})


def _rounded(value: Value, shift: int) -> Value:
    """``(value + (1 << (shift - 1))) >> shift``, by an adder that leaves out the bits below the constant."""
    return ((value >> shift - 1) + 1) >> 1 if shift else value


def _clamp_model(value: int, bits: int) -> int:
    return min(max(value, -(1 << bits - 1)), (1 << bits - 1) - 1)


def _clamp(value: Value, bits: int) -> Value:
    """``value`` within the range of ``bits`` bits."""
    if len(value) <= bits:
        return value
    above = value[bits - 1 :]
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return Mux(above.all() | ~above.any(), value[:bits].as_signed(), Mux(value[-1], low, high))


class _Unit:
    """The unit that fires, along the pipeline, and its memories.

    A memory is read just before the stage that needs the value, at the address which the unit has there: no value waits
    in registers. A stage (``at``) is a number of cycles since the firing gate value.
    """

    def __init__(self, m: Module, cell: "CellUnit") -> None:
        self._m = m
        self._address: list[Value] = [cell.i.unit]
        self._fires: list[Value] = [cell.i.valid & cell.i.fire]
        self._fresh: list[Value] = [cell.fresh]
        for stage in range(1, cell.latency + 1):
            self._address.append(delay(m, self._address[-1], 1, f"unit_{stage}"))
            self._fires.append(delay(m, self._fires[-1], 1, f"fire_{stage}", control=True))
            self._fresh.append(delay(m, self._fresh[-1], 1, f"fresh_{stage}"))
        self._gates: dict[str, Ram] = {}
        for bank, name in enumerate(GATES[cell.kind]):
            self._gates[name] = gate = Ram(BITS, cell.units)
            m.submodules[name] = gate
            m.d.comb += [
                gate.write_enable.eq(cell.i.valid & (cell.i.bank == bank)),
                gate.write_address.eq(cell.i.unit),
                gate.write_data.eq(cell.i.value),
            ]
        m.submodules.state = self._state = Ram(BITS, cell.state.depth, cell.state)
        m.submodules.tanh = self._tanh = Rom(cell.tanh)

    def address(self, at: int) -> Value:
        """The number of the unit, which is its address in the memories."""
        return self._address[at]

    def fires(self, at: int) -> Value:
        """Whether there is a unit."""
        return self._fires[at]

    def _read(self, memory: Ram, address: Value) -> Value:
        self._m.d.comb += [memory.read_enable.eq(1), memory.output_enable.eq(1), memory.read_address.eq(address)]
        return memory.read_data.as_signed()

    def gate(self, name: str, at: int) -> Value:
        """The value of a gate."""
        # It is read behind the cycle in which the firing value, the last one, is written.
        assert at >= 1 + Ram.latency
        return self._read(self._gates[name], self._address[at - Ram.latency])

    def state(self, at: int) -> Value:
        """The state of the time step before, or the initial one."""
        stage = at - Ram.latency
        return self._read(self._state, Cat(self._address[stage], self._fresh[stage]))

    def keep(self, state: Value, at: int) -> None:
        """Writes the new state. The uppermost bit of the address is 0, so an initial state is never overwritten."""
        self._m.d.comb += [
            self._state.write_enable.eq(self._fires[at]),
            self._state.write_address.eq(self._address[at]),
            self._state.write_data.eq(state),
        ]

    def tanh(self, index: Value) -> Value:
        """The entry of a signed index of 8 bits, ``Rom.latency`` cycles later."""
        self._m.d.comb += self._tanh.address.eq(Cat(index[:7], ~index[7]))
        return self._tanh.field("value")


class CellUnit(wiring.Component):
    """Stores gates. When the last gate of a unit arrives, computes the unit as in ``docs/arithmetic.md``, "Recurrent
    cells".

    From the firing gate value of a unit until its output, no gate of that unit may arrive. Gates of other units may.
    The gates r and z of a GRU are values of a sigmoid: 0 to 32767.

    Parameters
    ----------
    kind : str
        ``"lstm"`` or ``"gru"``.
    units : int
        Units of all cells of the network, numbered through.
    bits : int
        Bits of the output h, 2 to 16.
    state, tanh : Image
        Made by ``state_image`` and ``tanh_image``.
    style : callable
        int -> MultiplierStyle: how to build a multiplier whose narrow operand has that number of bits.

    Members
    -------
    i : In(gate_layout(units))
    fresh : In(1)
        With the firing gate value: this is the first time step of a sequence, so the state is the initial one.
    o : Out(unit_layout(units, bits))
        ``latency`` cycles after the firing gate value.
    ahead : Out(1)
        Three cycles before ``o``.

    Raises
    ------
    ValueError
        If there is no such kind of cell, the output cannot have that number of bits, or the images are not those of
        this number of units.
    """

    i: data.View
    fresh: Signal
    o: data.View
    ahead: Signal

    def __init__(
        self, kind: str, units: int, bits: int, state: Image, tanh: Image, style: Callable[[int], MultiplierStyle]
    ) -> None:
        if kind not in GATES:
            raise ValueError(f"unknown kind of cell {kind!r}: choose one of {', '.join(GATES)}")
        if not 2 <= bits <= BITS:
            raise ValueError(f"cell outputs of {bits} bits: choose 2 to {BITS}")
        if (tanh.width, tanh.depth) != (BITS, 256):
            raise ValueError(f"image {tanh.name}: the table of tanh has 256 entries of {BITS} bits")
        if state.depth != state_half(units) + units:
            raise ValueError(f"image {state.name}: not the initial state of {units} units")
        self._kind, self._units, self._bits = kind, units, bits
        self._state, self._tanh, self._style = state, tanh, style
        super().__init__(
            {"i": In(gate_layout(units)), "fresh": In(1), "o": Out(unit_layout(units, bits)), "ahead": Out(1)}
        )

    @property
    def kind(self) -> str:
        return self._kind

    @property
    def units(self) -> int:
        return self._units

    @property
    def bits(self) -> int:
        return self._bits

    @property
    def state(self) -> Image:
        return self._state

    @property
    def tanh(self) -> Image:
        return self._tanh

    @property
    def latency(self) -> int:
        return cell_latency(self._kind, self._style)

    @staticmethod
    def model(kind: str, gates: Sequence[int], state: int, bits: int, tanh: Sequence[int]) -> tuple[int, int]:
        """New state and output of a unit. ``gates`` are in the order of ``GATES[kind]``."""
        if kind == "lstm":
            i, f, g, o = gates
            state = _clamp_model((((f * state) << 4) + i * g + (1 << 18)) >> 19, BITS)
            t = tanh[_clamp_model((state + 32) >> 6, 8) + 128]
            return state, _clamp_model((o * t + (1 << 30 - bits)) >> 31 - bits, bits)
        r, z, n_x, n_h = gates
        n = tanh[_clamp_model(((n_x << 15) + r * n_h + (1 << 20)) >> 21, 8) + 128]
        state = n + ((z * (state - n) + (1 << 14)) >> 15)
        shift = BITS - bits
        return state, _clamp_model((state + ((1 << shift) >> 1)) >> shift, bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit = _Unit(m, self)
        value, at = (self._lstm if self._kind == "lstm" else self._gru)(m, unit)
        # The stages built are those that the plan counts.
        assert at == self.latency
        m.d.comb += [
            self.o.valid.eq(unit.fires(at)),
            self.ahead.eq(unit.fires(at - 3)),
            self.o.unit.eq(unit.address(at)),
            self.o.value.eq(value),
        ]
        return m

    def _multiply(self, m: Module, name: str, a: Value, b: Value) -> tuple[Value, int]:
        """The product, and after how many cycles it is there."""
        m.submodules[name] = multiplier = Multiplier(len(a), len(b), self._style(len(b)))
        m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]
        return multiplier.o, multiplier.latency

    def _index(self, m: Module, value: Value, shift: int) -> Value:
        """Rounded and clamped to 8 bits, a cycle later and behind a multiplexer. Comparisons run beside the adder."""
        twice = value >> shift - 1
        rounded = delay(m, ((twice + 1) >> 1)[:8], 1, "index")
        below = delay(m, (twice + Const(257, signed(10)))[-1], 1, "index_below")
        upto = delay(m, (twice - Const(255, signed(9)))[-1], 1, "index_upto")
        return Mux(below, Const(-128, signed(8)), Mux(upto, rounded.as_signed(), 127))

    def _output(self, m: Module, value: Value, shift: int) -> tuple[Value, int]:
        """Rounded and clamped to the bits of the output, and after how many cycles."""
        rounded = delay(m, _rounded(value, shift), 1, "output_rounded")
        return delay(m, _clamp(rounded, self._bits), 1, "output"), 2

    def _lstm(self, m: Module, unit: _Unit) -> tuple[Value, int]:
        """The output of an LSTM unit, and its stage."""
        at = 1 + Ram.latency
        kept, cycles = self._multiply(m, "keep", unit.gate("f", at), unit.state(at))
        new, _ = self._multiply(m, "add", unit.gate("i", at), unit.gate("g", at))
        at += cycles
        total = delay(m, (kept << 4) + new, 1, "total")
        rounded = delay(m, _rounded(total, 19), 1, "state_rounded")
        state = delay(m, _clamp(rounded, BITS), 1, "state")
        at += 3
        unit.keep(state, at)
        index = self._index(m, state, 6)
        at += 1 + Rom.latency
        product, cycles = self._multiply(m, "out", unit.gate("o", at), unit.tanh(index))
        value, last = self._output(m, product, 31 - self._bits)
        return value, at + cycles + last

    def _gru(self, m: Module, unit: _Unit) -> tuple[Value, int]:
        """The output of a GRU unit, and its stage."""
        at = 1 + Ram.latency
        hidden, cycles = self._multiply(m, "reset", unit.gate("r", at), unit.gate("n_h", at))
        at += cycles
        total = delay(m, (unit.gate("n_x", at) << 15) + hidden, 1, "total")
        index = self._index(m, total, 21)
        at += 2 + Rom.latency
        new = unit.tanh(index)
        difference = delay(m, unit.state(at) - new, 1, "difference")
        at += 1
        product, cycles = self._multiply(m, "blend", unit.gate("z", at), difference)
        new = delay(m, new, 1 + cycles, "new")
        # n + ((p + 2**14) >> 15) in one adder. It is ((2 * n + 1) + (p >> 14)) >> 1: the 1 rounds.
        state = Signal(signed(BITS), reset_less=True)
        m.d.sync += state.eq((Cat(1, new).as_signed() + (product >> 14)) >> 1)
        at += cycles + 1
        unit.keep(state, at)
        value, last = self._output(m, state, BITS - self._bits)
        return value, at + last
