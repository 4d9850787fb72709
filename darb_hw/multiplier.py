"""Signed multiplier in registered stages, on DSP blocks or on LUTs."""

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from darb_hw.memory import FileMemories
from darb_hw.pipeline import delay
from darb_hw.styles import MultiplierStyle

__all__ = ["Multiplier"]


class Multiplier(wiring.Component):
    """``o = a * b``, one product a cycle, ``latency`` cycles later.

    ``b`` is cut into limbs (the upper one signed, the others not); the partial product of each is registered,
    and a tree of registered adders joins them two by two. For DSP blocks the operands are registered first; in
    Verilog such a partial product is a module, which is a primitive of the device where it has one.

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

    def _partial(self, a, limb, top: bool):
        if self._style.dsp:
            return a * (limb.as_signed() if top else limb)
        # Two bits of b: an adder of a and 2a, each gated. The uppermost bit of b counts negative.
        terms = [Mux(bit, a << place, 0) for place, bit in enumerate(limb)]
        if not top:
            return sum(terms[1:], terms[0])
        return sum(terms[:-1], -terms[-1])

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
        width = self._style.limb
        operands = int(self._style.dsp)
        modules = self._style.dsp and isinstance(platform, FileMemories)
        if not modules:
            a, b = delay(m, self.a, operands, "a"), delay(m, self.b, operands, "b")
        parts, stages = [], 0
        for number in range(self._style.limbs):
            place, top = slice(number * width, (number + 1) * width), number == self._style.limbs - 1
            if modules:
                parts.append(self._module(m, number, self.b[place], top))
                continue
            value = self._partial(a, b[place], top)
            part = Signal(value.shape(), name=f"part_{number}", reset_less=True)
            m.d.sync += part.eq(value)
            parts.append(part)
        stages += 1
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
        assert operands + stages == self.latency
        m.d.comb += self.o.eq(parts[0])
        return m
