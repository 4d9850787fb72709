"""From accumulator to result, by the parameters of the row (formulas: class docstring)."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.image import signed_bits
from darb_hw.latency import SHIFT_LEVELS
from darb_hw.memory import Ram, Rom
from darb_hw.multiplier import Multiplier
from darb_hw.pipeline import delay
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.roms import INSIDE
from darb_hw.sequencer import context_layout

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
    valid, value, row, context : In
        An accumulator; where the parameters of its row are; what the sequencer said of the pass.
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
        assert rom.latency == latency.parameters
        m.d.comb += rom.address.eq(self.row)

        lines = {}

        def later(name: str, value, cycles: int):
            """``value``, so many cycles later: one delay line for all that ask."""
            line = lines.setdefault(name, [value])
            while len(line) <= cycles:
                line.append(_register(m, line[-1], f"{name}_{len(line)}"))
            return line[cycles]

        def parameter(name: str, at: int):
            """A field of the row, ``at`` cycles after the row number."""
            assert at >= rom.latency
            return later(name, rom.field(name), at - rom.latency)

        def passing(name: str, at: int):
            """A field of the context, ``at`` cycles after it came in."""
            return later(f"passing_{name}", self.context[name], at)

        old = self._old(m, parameter, passing)
        at = rom.latency
        shifted, at = self._product(m, delay(m, self.value, at, "value"), parameter, at)
        # (p + 2**(s - 1)) >> s == ((p >> (s - 1)) + 1) >> 1, and v + operand adds twice the operand to that.
        half = Const(1, signed(2))
        if latency.operand and not latency.functions:
            half = Cat(1, self._operand(m, old, parameter, at)).as_signed()
        total = _register(m, (shifted + half) >> 1, "rounded")
        at += latency.rounding
        assert at == latency.round
        if latency.functions:
            total = self._function(m, shifted, total, parameter, at)
            at += latency.function
            if latency.operand:
                total = _register(m, total + self._operand(m, old, parameter, at), "total")
                at += latency.add
        if latency.compare:
            low, high, below, above = self._outside(m, total, parameter, at, lambda low, high: (low, high))
            total = delay(m, total, 1, "compared")
        else:  # v < low, v > high, of twice the value
            low, high, below, above = self._outside(
                m, shifted, parameter, at - 1, lambda low, high: (2 * low - 1, 2 * high)
            )
        at += latency.compare
        bits = signed(plan.widths.value)
        value = _register(m, Mux(below, low, Mux(above, high, total)), "clamped", bits)
        at += latency.select
        if latency.maximum:
            # Where there are operands as well, the old value is read as early as an operand.
            early = delay(m, old, at - latency.look, "old")
            less = _register(m, _less(value, early), "less")
            value, early = delay(m, value, 1, "compared_clamped"), delay(m, early, 1, "compared_old")
            value = _register(m, Mux(passing("maximum", at + 1) & less, early, value), "largest", bits)
            at += latency.largest

        assert self.latency == at
        before = at - AHEAD - 1
        valid = delay(m, self.valid, before, "valid_before", control=True)
        m.d.sync += self.ahead.eq(valid & (parameter("target", before) == INSIDE))
        result, moved = self.result, parameter("address", at - 1)
        if "write" in self.context.shape().members:
            moved = moved + passing("write", at - 1)
        m.d.comb += [
            result.valid.eq(delay(m, valid, at - before, "valid", control=True)),
            result.target.eq(parameter("target", at)),
            result.address.eq(_register(m, moved, "target_address", plan.widths.target)),
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

    def _old(self, m: Module, parameter, passing):
        """What the memory holds where the row says, ``latency.look`` cycles after the row number."""
        latency = self._plan.latency
        if not (latency.operand or latency.maximum):
            return None
        assert Ram.latency == latency.activation
        at = latency.look - Ram.latency
        address = parameter("aux", at - 1) + passing("aux", at - 1)
        m.d.comb += self.read_address.eq(_register(m, address, "read", self._plan.widths.address))
        return self.read_data

    def _operand(self, m: Module, old, parameter, at: int):
        """The operand, or 0, as it is to be added in cycle ``at``."""
        assert at - 1 == self._plan.latency.look
        return _register(m, Mux(parameter("operand", at - 1), old, 0), "operand_value", self.read_data.shape())

    def _outside(self, m: Module, value, parameter, at: int, bounds):
        """Range of the result, and whether ``value`` is below or above it: all of them a cycle after ``value``."""
        clamps, least = self._plan.clamps, -(1 << len(value) - 1)
        bounds = [bounds(*clamp) for clamp in clamps]
        # A bound that no value is beyond needs no more bits than the value.
        limits = [(max(low, least), min(high, -1 - least)) for low, high in bounds]
        early, late = parameter("clamp", at - 1), parameter("clamp", at)
        low, high = (_chosen(m, early, side, name) for side, name in zip(zip(*limits), ("least", "most")))
        below, above = _register(m, _less(value, low), "below"), _register(m, _less(high, value), "above")
        low, high = (_chosen(m, late, side, name) for side, name in zip(zip(*clamps), ("low", "high")))
        return low, high, below, above

    def _function(self, m: Module, shifted, value, parameter, at: int):
        """The entry of the table that the row names, or the value itself."""
        plan = self._plan
        m.submodules.functions = table = Rom(plan.images["functions"])
        # v < -128, v > 127: of twice the value before it is rounded, beside the adder.
        below = _register(m, _less(shifted, Const(-257, signed(10))), "below_table")
        above = _register(m, _less(Const(254, signed(9)), shifted), "above_table")
        index = _register(m, Mux(below, 0, Mux(above, 255, value[:8] ^ 0x80)), "index", 8)
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


def _less(a, b):
    """``a < b``, of signed values: the sign of the difference, the last bit of a carry chain with nothing behind it."""
    return (a - b)[-1]


def _chosen(m: Module, number, values, name: str) -> Signal:
    """Of constants the one of this number, a cycle later. Nested multiplexers and no Array: its Verilog is a block
    that Icarus runs only when ``number`` changes."""
    shape = signed(max(signed_bits(min(values), max(values)), 1))
    found = Const(values[0], shape)
    for place, value in enumerate(values[1:], 1):
        found = Mux(number == place, Const(value, shape), found)
    return _register(m, found, name, shape)
