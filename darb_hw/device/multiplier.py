"""Signed multiplier in registered stages, on DSP blocks or on LUTs."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import FileMemories
from darb_hw.device.pipeline import delay
from darb_hw.plan.styles import MultiplierStyle

__all__ = ["Multiplier"]


class Multiplier(wiring.Component):
    """``o = a * b``, one product a cycle, ``latency`` cycles later.

    Operands are registered. ``b`` is cut into limbs (the upper one signed, the others not); the partial product of each
    is registered, and a tree of registered adders joins them two by two. On DSP blocks operands and partial product are
    a module in Verilog, which is a primitive of the device where it has one. On LUTs a limb has two bits: beside the
    operands three times ``a`` and ``a - 1`` are registered, so that a partial product only chooses one of these.

    Parameters
    ----------
    a_width, b_width : int
        Bits of the signed operands.
    style : MultiplierStyle

    Members
    -------
    a, b : In(signed)
    o : Out(signed(a_width + b_width))

    Raises
    ------
    ValueError
        If the limbs of ``style`` do not cover ``b``.
    """

    def __init__(self, a_width: int, b_width: int, style: MultiplierStyle):
        if style.limbs * style.limb < b_width or (style.limbs - 1) * style.limb >= b_width:
            raise ValueError(f"{style.limbs} limbs of {style.limb} bits do not make an operand of {b_width} bits")
        self._style = style
        super().__init__({"a": In(signed(a_width)), "b": In(signed(b_width)), "o": Out(signed(a_width + b_width))})

    @property
    def style(self) -> MultiplierStyle:
        return self._style

    @property
    def latency(self) -> int:
        return self._style.latency

    @staticmethod
    def model(a: int, b: int) -> int:
        return a * b

    def _digits(self, m: Module, a, b, top: bool, three, less) -> Signal:
        """A partial product on LUTs: a choice among multiples of ``a`` by two bits of ``b``, of which the uppermost
        counts negative. ``-a`` is the complement of ``a - 1``, which takes no LUT here."""
        part = Signal(signed(len(self.a) + 2), reset_less=True)
        choices = [Const(0), a, a << 1, three]
        if top:
            twice = Cat(Const(1), less).as_signed()
            choices = [Const(0), ~less] if len(b) == 1 else [Const(0), a, ~twice, ~less]
        with m.Switch(b):
            for value, choice in enumerate(choices):
                with m.Case(value):
                    m.d.sync += part.eq(choice)
        return part

    def _module(self, m: Module, number: int, limb, top: bool) -> Signal:
        """A partial product by ``darb_multiply``."""
        b = limb if top else Cat(limb, 0)
        part = Signal(signed(len(self.a) + len(b)), name=f"part_{number}")
        m.submodules[f"multiply_{number}"] = Instance(
            "darb_multiply", p_A_WIDTH=len(self.a), p_B_WIDTH=len(b), i_clk=ClockSignal(), i_a=self.a, i_b=b, o_o=part
        )
        return part

    def elaborate(self, platform):
        m = Module()
        width, limbs = self._style.limb, self._style.limbs
        modules = self._style.dsp and isinstance(platform, FileMemories)
        if not modules:
            a, b = delay(m, self.a, 1, "a"), delay(m, self.b, 1, "b")
            multiples = [Signal(signed(len(self.a) + 2), name=name, reset_less=True) for name in ("three", "less")]
        if not self._style.dsp:
            m.d.sync += [multiples[0].eq(self.a + (self.a << 1)), multiples[1].eq(self.a - 1)]
        parts = []
        for number in range(limbs):
            place, top = slice(number * width, (number + 1) * width), number == limbs - 1
            if modules:
                part = self._module(m, number, self.b[place], top)
            elif self._style.dsp:
                limb = b[place].as_signed() if top else b[place]
                part = delay(m, a * limb, 1, f"part_{number}")
            else:
                part = self._digits(m, a, b[place], top, *multiples)
            parts.append(part)
        stages = 1
        while len(parts) > 1:
            width_of_pair = width << (stages - 1)
            joined = []
            for number in range(0, len(parts) - 1, 2):
                value = parts[number] + (parts[number + 1] << width_of_pair)
                pair = Signal(value.shape(), name=f"sum_{stages}_{number // 2}", reset_less=True)
                m.d.sync += pair.eq(value)
                joined.append(pair)
            if len(parts) % 2:
                single = Signal(parts[-1].shape(), name=f"sum_{stages}_{len(joined)}", reset_less=True)
                m.d.sync += single.eq(parts[-1])
                joined.append(single)
            parts, stages = joined, stages + 1
        assert 1 + stages == self.latency
        m.d.comb += self.o.eq(parts[0])
        return m
