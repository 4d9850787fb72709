"""From accumulator to result, by the parameters of the row (formulas: class docstring)."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, ShapeLike, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import rom_layout
from darb_hw.device.multiplier import Multiplier
from darb_hw.device.pipeline import delay
from darb_hw.engine.planned import Planned
from darb_hw.engine.step import context_layout
from darb_hw.engine.tile_drain import spot_layout
from darb_hw.plan.image import signed_bits, unsigned_bits
from darb_hw.plan.latency import SHIFT_LEVELS
from darb_hw.plan.plan import Plan
from darb_hw.plan.roms import INSIDE
from darb_prune.encoded import FACTOR_BITS, PRODUCT_SHIFT

__all__ = ["Requantiser", "result_layout"]


def result_layout(plan: Plan) -> data.StructLayout:
    """A result and where it goes: ``target`` is ``roms.INSIDE``, ``OUTPUT`` or ``GATE``, ``address`` the address there.

    The address of a gate is the number of its unit; ``bank`` says which gate it is, ``fire`` whether it is the last one
    of its unit. Where lanes compute neighbouring positions, ``bank`` is that of the address; to single-port RAMs,
    ``ends`` says that a burst ends with the result. Where they are in clusters, ``cluster`` says whose memories get the
    result (:mod:`darb_hw.plan.clusters`).
    """
    fields = {"valid": 1, "target": 2, "address": plan.widths.target, "value": signed(plan.widths.value)}
    if plan.network.cells:
        fields |= {"bank": 2, "fire": 1}
    if plan.clustered:
        fields["cluster"] = unsigned_bits(plan.config.clusters)
    if plan.banked:
        fields["bank"] = unsigned_bits(plan.config.banks - 1)
    if plan.latency.paired:
        fields["ends"] = 1
    return data.StructLayout(fields)


class _Row:
    """The parameters of the row and the context of the pass, along the pipeline.

    Each of them has one delay line for all stages that ask for it. ``at`` counts cycles since the accumulator.
    """

    def __init__(self, m: Module, requant: "Requantiser", field: Callable[[str], Value]) -> None:
        self._m, self._latency = m, requant.plan.latency
        self._field, self._context, self._fields = field, requant.context, context_layout(requant.plan).members
        self._spot, self._spot_shift = requant.spot if requant.plan.banked else None, requant.plan.spot_shift
        self._lines: dict[str, list[Value]] = {}

    def _later(self, name: str, value: Value, cycles: int) -> Value:
        """``value``, so many cycles later."""
        line = self._lines.setdefault(name, [value])
        while len(line) <= cycles:
            line.append(_register(self._m, line[-1], f"{name}_{len(line)}"))
        return line[cycles]

    def parameter(self, name: str, at: int) -> Value:
        """A field of the row, behind a register more than the ROM has: that can stand far away."""
        assert at >= self._latency.parameters
        return self._later(name, self._field(name), at - self._latency.parameters + 1)

    def passing(self, name: str, at: int) -> Value:
        """A field of the context."""
        return self._later(f"passing_{name}", self._context[name], at)

    def spot(self, name: str, at: int) -> Value:
        """Where the result goes, or what is read for it: there a cycle after the accumulator."""
        assert self._spot is not None
        return self._later(f"spot_{name}", self._spot[name], at - 1)

    def moved(self, name: str, by: str, bits: int, at: int) -> Value:
        """An address of the row, moved by a field of the context if there is such a field."""
        first = self._latency.parameters + 1
        # The parameters are there, then a register behind the adder.
        assert at >= first
        address = self.parameter(name, first - 1)
        if self._spot is not None:
            address = address + (self.spot(name, first - 1) << self._spot_shift)
        elif by in self._fields:
            address = address + self.passing(by, first - 1)
        return self._later(f"moved_{name}", _register(self._m, address, f"moved_{name}", bits), at - first)


class Requantiser(Planned):
    """One row a cycle::

        v = ((acc + bias) * mult + (1 << (shift - 1))) >> shift
        v = function[clamp(v, -128, 127) + 128]             if the row has a function
        v = (clamp(v, low, high) * operand + (1 << 10)) >> 11   if the row is multiplied by an operand
        v = v + operand                                     if the row has an operand that is added
        y = clamp(v, qmin, qmax)
        y = max(y, old value)                               if the pass asks for it

    No stage has more than one wide adder or comparison, or two multiplexers in a row. Where possible, the comparisons
    of a clamp run beside the adder that makes ``v``, so that they are known as early as ``v``.

    The methods that build stages take the cycle ``at`` in which their operands are there, counted from the accumulator.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    valid, value, context : In
        An accumulator, and the context of its pass.
    row : In(unsigned)
        Number of its row, which is where its parameters are; ``plan.latency.early`` cycles before ``valid``.
    read_address : Out(unsigned)
        Address of the operand or of the old value in the activation memory.
    read_data : In(signed)
        What is there, ``plan.latency.aux`` cycles later.
    result : Out(result_layout(plan))
        ``latency`` cycles after ``valid``.
    ahead : Out(1)
        ``plan.latency.ahead`` cycles before a result that goes to the activation memory.

    Where lanes compute neighbouring positions, there is a requantiser for each result that is written at once. They all
    work on the same row; the first one reads its parameters for all.

    spot : In(spot_layout(plan))
        A cycle after ``valid``: where the result goes.
    parameters : In or Out(rom_layout)
        What the first one reads.
    read_enable, read_bank : Out
        With ``read_address``: whether there is a result that it is read for, and the bank.
    """

    has_roms = True
    valid: Signal
    value: Signal
    row: Signal
    context: data.View
    read_address: Signal
    read_data: Signal
    result: data.View
    ahead: Signal
    spot: data.View
    parameters: data.View
    read_enable: Signal
    read_bank: Signal

    def __init__(self, plan: Plan, way: int = 0) -> None:
        context, self._way = context_layout(plan), way
        banked = {}
        if plan.banked:
            parameters = rom_layout(plan.images["rows"])
            banked = {
                "spot": In(spot_layout(plan)),
                "parameters": In(parameters) if way else Out(parameters),
                "read_enable": Out(1),
                "read_bank": Out(unsigned(unsigned_bits(plan.config.banks - 1))),
            }
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
            }
            | banked,
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
        inner: tuple[int, int] | None = None,
    ) -> int:
        value = ((value + bias) * mult + (1 << (shift - 1))) >> shift
        if function is not None:
            value = function[min(max(value, -128), 127) + 128]
        if inner is not None:
            value = (min(max(value, inner[0]), inner[1]) * operand + (1 << PRODUCT_SHIFT - 1)) >> PRODUCT_SHIFT
            operand = 0
        value = min(max(value + operand, qmin), qmax)
        return value if old is None else max(value, old)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan, latency = self._plan, self._plan.latency
        row = _Row(m, self, self._parameters(m))
        if latency.reads_back:
            # What is read is there in the cycle ``look``.
            at = latency.look - latency.aux
            address = row.moved("aux", "aux", plan.widths.address, at)
            m.d.comb += self.read_address.eq(address)
            if plan.banked:
                m.d.comb += [self.read_enable.eq(row.spot("valid", at)), self.read_bank.eq(row.spot("aux_bank", at))]
        product, at = self._multiply(m, row)
        shifted, at = self._shift(m, row, product, at)
        total, at = self._round(m, row, shifted, at)
        value, at = self._clamp(m, row, shifted, total, at)
        if latency.maximum:
            value, at = self._maximum(m, row, value, at)
        assert self.latency == at
        self._give(m, row, value, at)
        return m

    def _parameters(self, m: Module) -> Callable[[str], Value]:
        """The fields of the row, from the ROM or from the requantiser that has it."""
        if self._way:
            parameters = self.parameters[0]
            return lambda name: parameters[name] if name in parameters.shape().members else Const(0, 1)
        m.submodules.rows = rom = self._rom(m, "rows")
        # The number of a row comes ``early``; the parameters pass a register behind that of the ROM.
        assert rom.latency + 1 == self._plan.latency.early + self._plan.latency.parameters
        m.d.comb += rom.address.eq(self.row)
        if self._plan.banked:
            m.d.comb += self.parameters.eq(rom.data)
        return rom.field

    def _multiply(self, m: Module, row: _Row) -> tuple[Value, int]:
        """Accumulator -> ``(acc + bias) * mult``."""
        plan, widths, latency = self._plan, self._plan.widths, self._plan.latency
        at = latency.parameters
        value = delay(m, self.value, at, "value")
        biased = _register(m, value + row.parameter("bias", at), "biased", signed(widths.biased))
        at += latency.bias
        # The operand that is cut into limbs is the wide one on DSP blocks, the short one on LUTs.
        dsp = plan.requant_style.dsp
        wide, short = widths.biased, widths.mult + 1
        m.submodules.multiplier = multiplier = Multiplier(
            short if dsp else wide, wide if dsp else short, plan.requant_style
        )
        a, b = row.parameter("mult", at), biased
        m.d.comb += [multiplier.a.eq(a if dsp else b), multiplier.b.eq(b if dsp else a)]
        return multiplier.o, at + multiplier.latency

    def _shift(self, m: Module, row: _Row, product: Value, at: int) -> tuple[Value, int]:
        """Product -> ``product >> (shift - 1)``: twice the value that is rounded next."""
        plan, widths, latency = self._plan, self._plan.widths, self._plan.latency
        shifted = product >> (plan.shift_base - 1)
        for stage in reversed(range(latency.shifts)):
            low = stage * SHIFT_LEVELS
            by = row.parameter("shift", at)[low : low + SHIFT_LEVELS]
            # Whatever the shifts that are still to come: no product needs more bits.
            bits = min(len(shifted), widths.rounded + (1 << low))
            shifted = _register(m, shifted >> (by << low) if len(by) else shifted, f"shifted_{stage}", signed(bits))
            at += 1
        return shifted[: widths.rounded + 1].as_signed(), at

    def _round(self, m: Module, row: _Row, shifted: Value, at: int) -> tuple[Value, int]:
        """Shifted product -> rounded value, its function, the product or sum with the operand."""
        latency = self._plan.latency
        # (p + 2**(s - 1)) >> s == ((p >> (s - 1)) + 1) >> 1, and v + operand adds twice the operand to that.
        half: Value = Const(1, signed(2))
        if latency.operand and not latency.apart:
            half = Cat(1, self._operand(m, row, at)).as_signed()
        total = _register(m, (shifted + half) >> 1, "rounded")
        at += latency.rounding
        assert at == latency.round
        if latency.functions:
            total = self._function(m, row, shifted, total, at)
            at += latency.function
        if latency.product:
            total = self._times(m, row, total, at)
            at += latency.product
        if latency.add:
            total = _register(m, total + self._operand(m, row, at), "total")
            at += latency.add
        return total, at

    def _operand(self, m: Module, row: _Row, at: int) -> Value:
        """The operand that is added, or 0, in cycle ``at``."""
        # It was read a cycle before (earlier where factors are read as well), and is chosen in a register.
        wait = at - 1 - self._plan.latency.look
        assert wait == 0 or (wait > 0 and self._plan.latency.product)
        operand = Mux(row.parameter("operand", at - 1), delay(m, self.read_data, wait, "operand_read"), 0)
        return _register(m, operand, "operand_value", self.read_data.shape())

    def _times(self, m: Module, row: _Row, value: Value, at: int) -> Value:
        """The product with the operand, or the value itself."""
        plan, latency = self._plan, self._plan.latency
        below, upto = self._against(m, value, row.parameter("inner_clamp", at - 1), plan.inner_clamps, "inner_")
        low, high = _limits(m, row.parameter("inner_clamp", at), plan.inner_clamps, "inner_")
        clamped = Mux(below, low, Mux(upto, delay(m, value, 1, "compared_inner"), high))
        factor = _register(m, clamped, "factor", signed(FACTOR_BITS))
        # The operand is there with what it is compared with, and in a register beside the clamped value.
        assert latency.look == at + 1
        operand = _register(m, self.read_data, "factor_read", self.read_data.shape())
        m.submodules.product = multiplier = Multiplier(FACTOR_BITS, plan.widths.activation, plan.product_style)
        m.d.comb += [multiplier.a.eq(factor), multiplier.b.eq(operand)]
        rounded = _register(m, (multiplier.o + (1 << PRODUCT_SHIFT - 1)) >> PRODUCT_SHIFT, "product_rounded")
        # Comparison, choice, multiplier, rounding, choice.
        assert latency.product == 1 + 1 + multiplier.latency + 1 + 1
        plain = delay(m, value, latency.product - 1, "plain_value")
        return _register(m, Mux(row.parameter("product", at + latency.product - 1), rounded, plain), "product_value")

    def _function(self, m: Module, row: _Row, shifted: Value, value: Value, at: int) -> Value:
        """The entry of the table that the row names, or the value itself."""
        plan = self._plan
        m.submodules.functions = table = self._rom(m, "functions")
        # v < -128, v <= 127: of twice the value before it is rounded, beside the adder.
        below, upto = (
            _register(m, (shifted + Const(offset, signed(10)))[-1], name)
            for name, offset in (("below_table", 257), ("upto_table", -255))
        )
        index = _register(m, Mux(below, 0, Mux(upto, value[:8] ^ 0x80, 255)), "index", 8)
        function = row.parameter("function", at)  # 0: none
        table_number = _register(m, function - 1, "table", range(max(len(plan.network.functions), 2)))
        m.d.comb += table.address.eq(index | (table_number << 8))
        # Index, table, choice.
        cycles = 1 + table.latency
        assert plan.latency.function == cycles + 1
        chosen, plain = delay(m, function != 0, cycles, "chosen"), delay(m, value, cycles, "plain")
        return _register(m, Mux(chosen, table.field("value"), plain), "function_value")

    def _clamp(self, m: Module, row: _Row, shifted: Value, total: Value, at: int) -> tuple[Value, int]:
        """Sum -> clamped value. Comparisons run beside the last adder if that only rounds; else behind it."""
        plan, latency = self._plan, self._plan.latency
        if latency.compare:
            below, upto = self._against(m, total, row.parameter("clamp", at - 1), plan.clamps)
            total = delay(m, total, 1, "compared")
        else:  # v < low, v <= high, of twice the value
            twice = [(2 * low - 1, 2 * high) for low, high in plan.clamps]
            below, upto = self._against(m, shifted, row.parameter("clamp", at - 2), twice)
        at += latency.compare
        low, high = _limits(m, row.parameter("clamp", at - 1), plan.clamps)
        clamped = Mux(below, low, Mux(upto, total, high))
        return _register(m, clamped, "clamped", signed(plan.widths.value)), at + latency.select

    def _against(
        self, m: Module, value: Value, clamp: Value, ranges: Sequence[tuple[int, int]], prefix: str = ""
    ) -> tuple[Value, Value]:
        """Whether ``value`` is below the range of number ``clamp``, and whether it is not above.

        Both come a cycle after ``value`` and two after ``clamp``. Each is the sign of a sum: the last bit of a carry
        chain with nothing before or behind it.
        """
        least = -(1 << len(value) - 1)
        # A bound that no value is beyond needs no more bits than the value.
        lows = [-max(low, least) for low, _ in ranges]
        highs = [-1 - min(high, -1 - least) for _, high in ranges]
        return (
            _register(m, (value + _chosen(m, clamp, lows, f"{prefix}least"))[-1], f"{prefix}below"),
            _register(m, (value + _chosen(m, clamp, highs, f"{prefix}most"))[-1], f"{prefix}upto"),
        )

    def _maximum(self, m: Module, row: _Row, value: Value, at: int) -> tuple[Value, int]:
        """Clamped value -> the maximum with the old value, if the pass asks for it."""
        latency, bits = self._plan.latency, signed(self._plan.widths.value)
        # Where there are operands as well, the old value is read as early as an operand.
        old = delay(m, self.read_data, at - latency.look, "old")
        less = _register(m, (value - old)[-1], "less")
        value, old = delay(m, value, 1, "compared_clamped"), delay(m, old, 1, "compared_old")
        value = _register(m, Mux(row.passing("maximum", at + 1) & less, old, value), "largest", bits)
        # Comparison, choice.
        assert latency.largest == 2
        return value, at + latency.largest

    def _give(self, m: Module, row: _Row, value: Value, at: int) -> None:
        """The result, and the notice that it comes."""
        plan, result = self._plan, self.result
        before = at - plan.latency.ahead - 1  # and a register
        valid = delay(m, self.valid, before, "valid_before", control=True)
        if plan.banked:
            valid = valid & row.spot("valid", before)
            m.d.comb += result.bank.eq(row.spot("bank", at))
        if plan.latency.paired:
            m.d.comb += result.ends.eq(row.spot("ends", at))
        m.d.sync += self.ahead.eq(valid & (row.parameter("target", before) == INSIDE))
        m.d.comb += [
            result.valid.eq(delay(m, valid, at - before, "valid", control=True)),
            result.target.eq(row.parameter("target", at)),
            result.address.eq(row.moved("address", "write", plan.widths.target, at)),
            result.value.eq(value),
        ]
        if plan.clustered:
            m.d.comb += result.cluster.eq(row.parameter("bank", at))
        if plan.network.cells:
            m.d.comb += [result.bank.eq(row.parameter("bank", at)), result.fire.eq(row.parameter("fire", at))]


def _register(m: Module, value: Value, name: str, shape: ShapeLike | None = None) -> Signal:
    """``value`` a cycle later, cut to ``shape`` if that is given."""
    register = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


def _limits(m: Module, clamp: Value, ranges: Sequence[tuple[int, int]], prefix: str = "") -> tuple[Signal, Signal]:
    """Least and greatest value of the range of number ``clamp``, a cycle later."""
    lows, highs = zip(*ranges, strict=True)
    return _chosen(m, clamp, lows, f"{prefix}low"), _chosen(m, clamp, highs, f"{prefix}high")


def _chosen(m: Module, index: Value, constants: Sequence[int], name: str) -> Signal:
    """``constants[index]``, a cycle later. Nested multiplexers and no Array: the Verilog of an Array is a block that
    Icarus runs only when ``index`` changes."""
    shape = signed(max(signed_bits(min(constants), max(constants)), 1))
    choice: Value = Const(constants[0], shape)
    for n, constant in enumerate(constants[1:], 1):
        choice = Mux(index == n, Const(constant, shape), choice)
    return _register(m, choice, name, shape)
