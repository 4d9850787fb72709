"""Activation fetch: base address and index in block, then a copy of the activation memory."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib.wiring import In, Out

from darb_hw.memory import Ram
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.writeback import write_layout

__all__ = ["Fetch", "activation_memory"]


def activation_memory(plan: Plan) -> Ram:
    """A copy of the activation memory."""
    return Ram(plan.widths.activation, plan.memory_depth, plan.images.get("activations"))


class Fetch(Planned):
    """Decoding is an add: the activation of a code is at ``base + index``; where blocks stand at multiples of their
    size, the add is an or.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    base : In(unsigned)
        Address of the first column of the block.
    index : In(unsigned)
        Index of the kept weight inside the block.
    write : In(write_layout(plan))
        Write port of the activation memory.
    activation : Out(signed)
        ``latency`` cycles after base and index.
    """

    def __init__(self, plan: Plan):
        widths = plan.widths
        super().__init__(
            plan,
            {
                "base": In(widths.address),
                "index": In(max(1, widths.index)),
                "write": In(write_layout(plan)),
                "activation": Out(signed(widths.activation)),
            },
        )

    @property
    def latency(self) -> int:
        return 1 + Ram.latency

    @staticmethod
    def model(memory: list[int], base: int, index: int) -> int:
        return memory[base + index]

    def elaborate(self, platform):
        assert self.latency == self._plan.latency.address + self._plan.latency.activation
        m = Module()
        m.submodules.memory = memory = activation_memory(self._plan)
        address = Signal.like(memory.read_address, reset_less=True)
        m.d.sync += address.eq(self.base | self.index if self._plan.disjoint else self.base + self.index)
        m.d.comb += [
            memory.write_enable.eq(self.write.enable),
            memory.write_address.eq(self.write.address),
            memory.write_data.eq(self.write.data),
            memory.read_enable.eq(1),
            memory.read_address.eq(address),
            self.activation.eq(memory.read_data.as_signed()),
        ]
        return m
