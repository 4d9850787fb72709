"""One lane: multiply, accumulate."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import FileMemories
from darb_hw.device.modules import MODULES
from darb_hw.device.multiplier import Multiplier
from darb_hw.device.pipeline import delay
from darb_hw.engine.planned import Planned
from darb_hw.plan.plan import Plan

__all__ = ["Lane"]


class Lane(Planned):
    """A multiplier-accumulator.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    activation, weight : In(signed)
        Factors of a product.
    enable : In(1)
        Add the product whose factors came ``latency - 1`` cycles ago.
    clear : In(1)
        With ``enable``: start a new sum with this product.
    accumulator : Out(signed)
        Holds a product ``latency`` cycles after its factors.
    """

    activation: Signal
    weight: Signal
    enable: Signal
    clear: Signal
    accumulator: Signal

    def __init__(self, plan: Plan) -> None:
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
        latency = self._plan.latency
        return latency.way + latency.lane_multiplier + latency.accumulate

    @staticmethod
    def model(pairs: list[tuple[int, int]]) -> int:
        """Sum over ``pairs`` = (activation, weight)."""
        return sum(activation * weight for activation, weight in pairs)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        widths = self._plan.widths
        m.submodules.multiplier = multiplier = Multiplier(widths.activation, widths.weight, self._plan.lane_style)
        way = self._plan.latency.way
        product = delay(m, multiplier.o, 1, "product")
        # Registers on the way, multiplier, the register ``product``, accumulator.
        assert self.latency == way + multiplier.latency + 2
        m.d.comb += [
            multiplier.a.eq(delay(m, self.activation, way, "activation")),
            multiplier.b.eq(delay(m, self.weight, way, "weight")),
        ]
        if isinstance(platform, FileMemories):
            m.submodules.accumulate = MODULES["darb_accumulate"].instance(
                {"WIDTH": widths.accumulator, "P_WIDTH": len(product)},
                enable=self.enable, clear=self.clear, p=product, o=self.accumulator,
            )  # fmt: skip
            return m
        with m.If(self.enable):
            m.d.sync += self.accumulator.eq(Mux(self.clear, 0, self.accumulator) + product)
        return m
