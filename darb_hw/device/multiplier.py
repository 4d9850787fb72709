"""Signed multiplier in registered stages, on DSP blocks or on LUTs."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import FileMemories
from darb_hw.device.modules import MODULES
from darb_hw.device.pipeline import delay
from darb_hw.plan.styles import MultiplierStyle

__all__ = ["Multiplier"]


class Multiplier(wiring.Component):
    """``o = a * b``, one product a cycle, ``latency`` cycles later.

    Operands are registered. ``b`` is cut into limbs, of which only the upper one is signed. The partial product of each
    limb is registered. A tree of registered adders sums the partial products, two by two.

    On DSP blocks, a Verilog module multiplies ``a`` by a limb; it is a primitive where the device has one. On LUTs a
    limb has two bits. Three times ``a`` and ``a - 1`` are registered beside the operands, so that a partial product
    only chooses among multiples of ``a``.

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

    a: Signal
    b: Signal
    o: Signal

    def __init__(self, a_width: int, b_width: int, style: MultiplierStyle) -> None:
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

    def _limbs(self, b: Value) -> list[Value]:
        """The limbs of ``b``; only the upper one is signed."""
        width, count = self._style.limb, self._style.limbs
        limbs = [b[index * width : (index + 1) * width] for index in range(count)]
        return [*limbs[:-1], limbs[-1].as_signed()]

    def _instances(self, m: Module) -> list[Signal]:
        """Partial products by ``darb_multiply``, which registers its operands itself."""
        parts = []
        for index, limb in enumerate(self._limbs(self.b)):
            # The module has signed operands.
            b = limb if index == self._style.limbs - 1 else Cat(limb, 0)
            part = Signal(signed(len(self.a) + len(b)), name=f"part_{index}")
            widths = {"A_WIDTH": len(self.a), "B_WIDTH": len(b)}
            m.submodules[f"multiply_{index}"] = MODULES["darb_multiply"].instance(widths, a=self.a, b=b, o=part)
            parts.append(part)
        return parts

    def _products(self, m: Module) -> list[Value]:
        """Partial products in the simulator of Amaranth, in as many cycles as by ``darb_multiply``."""
        a, b = delay(m, self.a, 1, "a"), delay(m, self.b, 1, "b")
        return [delay(m, a * limb, 1, f"part_{index}") for index, limb in enumerate(self._limbs(b))]

    def _choices(self, m: Module) -> list[Signal]:
        """Partial products on LUTs."""
        a, b = delay(m, self.a, 1, "a"), delay(m, self.b, 1, "b")
        three, less = (Signal(signed(len(self.a) + 2), name=name, reset_less=True) for name in ("three", "less"))
        m.d.sync += [three.eq(self.a + (self.a << 1)), less.eq(self.a - 1)]
        limbs = self._limbs(b)
        return [self._choice(m, a, limb, three, less, index == len(limbs) - 1) for index, limb in enumerate(limbs)]

    def _choice(self, m: Module, a: Value, limb: Value, three: Signal, less: Signal, top: bool) -> Signal:
        """A partial product on LUTs: two bits of ``b`` choose a multiple of ``a``.

        In the uppermost limb the upper bit counts negative. ``-a`` is the complement of ``a - 1``, which takes no LUT
        here.
        """
        part = Signal(signed(len(self.a) + 2), reset_less=True)
        choices = [Const(0), a, a << 1, three]
        if top:
            twice = Cat(Const(1), less).as_signed()
            choices = [Const(0), ~less] if len(limb) == 1 else [Const(0), a, ~twice, ~less]
        with m.Switch(limb.as_unsigned()):
            for value, choice in enumerate(choices):
                with m.Case(value):
                    m.d.sync += part.eq(choice)
        return part

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not self._style.dsp:
            parts = self._choices(m)
        elif isinstance(platform, FileMemories):
            parts = self._instances(m)
        else:
            parts = self._products(m)
        stages = 1
        while len(parts) > 1:
            width_of_pair = self._style.limb << (stages - 1)
            joined = []
            for index in range(0, len(parts) - 1, 2):
                value = parts[index] + (parts[index + 1] << width_of_pair)
                pair = Signal(value.shape(), name=f"sum_{stages}_{index // 2}", reset_less=True)
                m.d.sync += pair.eq(value)
                joined.append(pair)
            if len(parts) % 2:
                single = Signal(parts[-1].shape(), name=f"sum_{stages}_{len(joined)}", reset_less=True)
                m.d.sync += single.eq(parts[-1])
                joined.append(single)
            parts, stages = joined, stages + 1
        # A register at the operands, one behind the partial products, one for each level of the tree.
        assert 1 + stages == self.latency
        m.d.comb += self.o.eq(parts[0])
        return m
