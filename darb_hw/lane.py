"""One lane: multiply, accumulate."""

from amaranth.hdl import Module, Mux, signed
from amaranth.lib.wiring import In, Out

from darb_hw.multiplier import Multiplier
from darb_hw.plan import Plan
from darb_hw.planned import Planned

__all__ = ["Lane"]


class Lane(Planned):
    """A multiplier-accumulator.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    activation, weight : In(signed)
    enable, clear : In(1)
        Add the product of ``latency - 1`` cycles ago; start a new sum with it.
    accumulator : Out(signed)
        Holds a product ``latency`` cycles after its factors.
    """

    def __init__(self, plan: Plan):
        widths = plan.widths
        super().__init__(
            plan,
            {
                "activation": In(signed(widths.activation)),
                "weight": In(signed(widths.weight)),
                "enable": In(1),
                "clear": In(1),
                "accumulator": Out(signed(widths.accumulator)),
            },
        )

    @property
    def latency(self) -> int:
        return self._plan.latency.lane_multiplier + self._plan.latency.accumulate

    @staticmethod
    def model(pairs: list[tuple[int, int]]) -> int:
        """Sum over ``pairs`` = (activation, weight)."""
        return sum(activation * weight for activation, weight in pairs)

    def elaborate(self, platform):
        m = Module()
        widths = self._plan.widths
        m.submodules.multiplier = multiplier = Multiplier(widths.activation, widths.weight, self._plan.lane_style)
        assert self.latency == multiplier.latency + 1
        m.d.comb += [multiplier.a.eq(self.activation), multiplier.b.eq(self.weight)]
        with m.If(self.enable):
            m.d.sync += self.accumulator.eq(Mux(self.clear, 0, self.accumulator) + multiplier.o)
        return m
