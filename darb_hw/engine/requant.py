"""From accumulator to result, by the parameters of the row (formulas: class docstring)."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Ram, Rom
from darb_hw.device.multiplier import Multiplier
from darb_hw.device.pipeline import delay
from darb_hw.engine.planned import Planned
from darb_hw.engine.sequencer import context_layout
from darb_hw.plan.image import signed_bits
from darb_hw.plan.latency import SHIFT_LEVELS
from darb_hw.plan.plan import Plan
from darb_hw.plan.roms import INSIDE

__all__ = ["AHEAD", "Requantiser", "result_layout"]

AHEAD = 2
"""Cycles between the notice that the write port will be taken, and the result that takes it."""


def result_layout(plan: Plan) -> data.StructLayout:
    """A result: where it goes (``roms.INSIDE``, ``OUTPUT`` or ``GATE``, and the address there, of a gate the number of
    its unit), its value; of a gate, which one it is, and whether it is the last of its unit."""
    fields = {"valid": 1, "target": 2, "address": plan.widths.target, "value": signed(plan.widths.value)}
    if plan.network.cells:
        fields |= {"bank": 2, "fire": 1}
    return data.StructLayout(fields)


class Requantiser(Planned):
    """One row a cycle::

        v = ((acc + bias) * mult + (1 << (shift - 1))) >> shift
        v = function[clamp(v, -128, 127) + 128]             if the row has a function
        v = v + operand                                     if the row has an operand
        y = clamp(v, qmin, qmax)
        y = max(y, what is there)                           if the pass asks for it

    No stage has more than one wide adder or comparison, or two multiplexers in a row. What ``v`` is clamped to is
    known before ``v`` where possible: comparisons run beside the adder.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    valid, value, context : In
        An accumulator; what the sequencer said of the pass.
    row : In(unsigned)
        Where the parameters of its row are, ``early`` cycles before it.
    read_address : Out(unsigned)
        Where operand or old value are in the activation memory.
    read_data : In(signed)
        Its contents, ``Ram.latency`` cycles later.
    result : Out(result_layout(plan))
        ``latency`` cycles later.
    ahead : Out(1)
        ``AHEAD`` cycles before a result that goes to the activation memory.
    """

    def __init__(self, plan: Plan):
        context = context_layout(plan)
        super().__init__(
            plan,
            {
                "valid": In(1),
                "value": In(signed(plan.widths.accumulator)),
                "row": In(context["row"].shape),
                "context": In(context),
                "read_address": Out(plan.widths.address),
                "read_data": In(signed(plan.widths.activation)),
                "result": Out(result_layout(plan)),
                "ahead": Out(1),
            },
        )

    @property
    def latency(self) -> int:
        return self._plan.latency.requant

    @staticmethod
    def model(
        value: int,
        bias: int,
        mult: int,
        shift: int,
        qmin: int,
        qmax: int,
        function: list[int] | None = None,
        operand: int = 0,
        old: int | None = None,
    ) -> int:
        value = ((value + bias) * mult + (1 << (shift - 1))) >> shift
        if function is not None:
            value = function[min(max(value, -128), 127) + 128]
        value = min(max(value + operand, qmin), qmax)
        return value if old is None else max(value, old)

    def elaborate(self, platform):
        m = Module()
        plan, latency = self._plan, self._plan.latency
        m.submodules.rows = rom = Rom(plan.images["rows"])
        assert rom.latency + 1 == latency.early + latency.parameters
        m.d.comb += rom.address.eq(self.row)

        lines = {}

        def later(name: str, value, cycles: int):
            """``value``, so many cycles later: one delay line for all that ask."""
            line = lines.setdefault(name, [value])
            while len(line) <= cycles:
                line.append(_register(m, line[-1], f"{name}_{len(line)}"))
            return line[cycles]

        def parameter(name: str, at: int):
            """A field of the row, ``at`` cycles after the accumulator: with a register behind that of the ROM, which
            can stand far away."""
            assert at >= latency.parameters
            return later(name, rom.field(name), at - latency.parameters + 1)

        def passing(name: str, at: int):
            """A field of the context, ``at`` cycles after it came in."""
            return later(f"passing_{name}", self.context[name], at)

        def moved(name: str, by: str, bits: int, at: int):
            """An address of the row, moved by what the context says."""
            address = parameter(name, latency.parameters)
            if by in self.context.shape().members:
                address = address + passing(by, latency.parameters)
            first = latency.parameters + 1
            assert at >= first
            return later(f"moved_{name}", _register(m, address, f"moved_{name}", bits), at - first)

        if latency.operand or latency.maximum:
            # There in the cycle in which it is looked at.
            assert Ram.latency == latency.activation
            m.d.comb += self.read_address.eq(moved("aux", "aux", plan.widths.address, latency.look - Ram.latency))
        at = latency.parameters
        shifted, at = self._product(m, delay(m, self.value, at, "value"), parameter, at)
        # (p + 2**(s - 1)) >> s == ((p >> (s - 1)) + 1) >> 1, and v + operand adds twice the operand to that.
        half = Const(1, signed(2))
        if latency.operand and not latency.functions:
            half = Cat(1, self._operand(m, parameter, at)).as_signed()
        total = _register(m, (shifted + half) >> 1, "rounded")
        at += latency.rounding
        assert at == latency.round
        if latency.functions:
            total = self._function(m, shifted, total, parameter, at)
            at += latency.function
            if latency.operand:
                total = _register(m, total + self._operand(m, parameter, at), "total")
                at += latency.add
        if latency.compare:
            below, upto = self._against(m, total, parameter("clamp", at - 1), plan.clamps)
            total = delay(m, total, 1, "compared")
        else:  # v < low, v <= high, of twice the value
            twice = [(2 * low - 1, 2 * high) for low, high in plan.clamps]
            below, upto = self._against(m, shifted, parameter("clamp", at - 2), twice)
        at += latency.compare
        low, high = (
            _chosen(m, parameter("clamp", at - 1), side, name)
            for side, name in zip(zip(*plan.clamps, strict=True), ("low", "high"), strict=True)
        )
        bits = signed(plan.widths.value)
        value = _register(m, Mux(below, low, Mux(upto, total, high)), "clamped", bits)
        at += latency.select
        if latency.maximum:
            # Where there are operands as well, the old value is read as early as an operand.
            old = delay(m, self.read_data, at - latency.look, "old")
            less = _register(m, (value - old)[-1], "less")
            value, old = delay(m, value, 1, "compared_clamped"), delay(m, old, 1, "compared_old")
            value = _register(m, Mux(passing("maximum", at + 1) & less, old, value), "largest", bits)
            at += latency.largest

        assert self.latency == at
        before = at - AHEAD - 1
        valid = delay(m, self.valid, before, "valid_before", control=True)
        m.d.sync += self.ahead.eq(valid & (parameter("target", before) == INSIDE))
        result = self.result
        m.d.comb += [
            result.valid.eq(delay(m, valid, at - before, "valid", control=True)),
            result.target.eq(parameter("target", at)),
            result.address.eq(moved("address", "write", plan.widths.target, at)),
            result.value.eq(value),
        ]
        if plan.network.cells:
            m.d.comb += [result.bank.eq(parameter("bank", at)), result.fire.eq(parameter("fire", at))]
        return m

    def _product(self, m: Module, value, parameter, at: int):
        """Twice the value before it is rounded; and when."""
        plan, widths, latency = self._plan, self._plan.widths, self._plan.latency
        biased = _register(m, value + parameter("bias", at), "biased", signed(widths.biased))
        at += latency.bias
        # The operand that is cut into limbs is the wide one on DSP blocks, the short one on LUTs.
        dsp = plan.requant_style.dsp
        wide, short = widths.biased, widths.mult + 1
        m.submodules.multiplier = multiplier = Multiplier(
            short if dsp else wide, wide if dsp else short, plan.requant_style
        )
        a, b = parameter("mult", at), biased
        m.d.comb += [multiplier.a.eq(a if dsp else b), multiplier.b.eq(b if dsp else a)]
        at += multiplier.latency
        shifted = multiplier.o >> (plan.shift_base - 1)
        for stage in reversed(range(latency.shifts)):
            place = stage * SHIFT_LEVELS
            by = parameter("shift", at)[place : place + SHIFT_LEVELS]
            # Whatever the shifts that are still to come: no product needs more bits.
            bits = min(len(shifted), widths.rounded + (1 << place))
            shifted = _register(m, shifted >> (by << place) if len(by) else shifted, f"shifted_{stage}", signed(bits))
            at += 1
        return shifted[: widths.rounded + 1].as_signed(), at

    def _operand(self, m: Module, parameter, at: int):
        """The operand, or 0, in cycle ``at``."""
        assert at - 1 == self._plan.latency.look
        operand = Mux(parameter("operand", at - 1), self.read_data, 0)
        return _register(m, operand, "operand_value", self.read_data.shape())

    def _against(self, m: Module, value, clamp, ranges):
        """Whether ``value`` is below its range, and whether not above it: a cycle after ``value``, two after the
        number of the range. The sign of a sum, the last bit of a carry chain with nothing before or behind it."""
        least = -(1 << len(value) - 1)
        # A bound that no value is beyond needs no more bits than the value.
        lows = [-max(low, least) for low, _ in ranges]
        highs = [-1 - min(high, -1 - least) for _, high in ranges]
        return (
            _register(m, (value + _chosen(m, clamp, lows, "least"))[-1], "below"),
            _register(m, (value + _chosen(m, clamp, highs, "most"))[-1], "upto"),
        )

    def _function(self, m: Module, shifted, value, parameter, at: int):
        """The entry of the table that the row names, or the value itself."""
        plan = self._plan
        m.submodules.functions = table = Rom(plan.images["functions"])
        # v < -128, v > 127: of twice the value before it is rounded, beside the adder.
        below, upto = (
            _register(m, (shifted + Const(offset, signed(10)))[-1], name)
            for name, offset in (("below_table", 257), ("upto_table", -255))
        )
        index = _register(m, Mux(below, 0, Mux(upto, value[:8] ^ 0x80, 255)), "index", 8)
        number = parameter("function", at)
        place = _register(m, number - 1, "table", range(max(len(plan.network.functions), 2)))
        m.d.comb += table.address.eq(index | (place << 8))
        cycles = 1 + table.latency
        assert plan.latency.function == cycles + 1
        chosen, plain = delay(m, number != 0, cycles, "chosen"), delay(m, value, cycles, "plain")
        return _register(m, Mux(chosen, table.field("value"), plain), "function_value")


def _register(m: Module, value, name: str, shape=None) -> Signal:
    """``value`` a cycle later, cut to ``shape`` if that is given."""
    register = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


def _chosen(m: Module, number, values, name: str) -> Signal:
    """Of constants the one of this number, a cycle later. Nested multiplexers and no Array: its Verilog is a block
    that Icarus runs only when ``number`` changes."""
    shape = signed(max(signed_bits(min(values), max(values)), 1))
    found = Const(values[0], shape)
    for place, value in enumerate(values[1:], 1):
        found = Mux(number == place, Const(value, shape), found)
    return _register(m, found, name, shape)
