"""Activation fetch: base address and index in block, then a copy of the activation memory."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Ram, SharedRam
from darb_hw.engine.planned import Planned
from darb_hw.engine.writeback import write_layout
from darb_hw.plan.plan import Plan

__all__ = ["Fetch", "activation_memory"]


def activation_memory(plan: Plan) -> Ram:
    """A copy of the activation memory."""
    return Ram(plan.widths.activation, plan.memory_depth, plan.images.get("activations"))


class Fetch(Planned):
    """Decoding is an add: the activation of a code is at ``base + index``. Where all blocks stand at multiples of their
    size, the add is an or.

    A lane has a memory of its own, or two lanes share one with two ports. The first port of a shared memory writes as
    well; nothing is read in that cycle.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    base : In(unsigned)
        Address of the first column of the block.
    index : In(ArrayLayout(unsigned, lanes))
        Index of the kept weight inside the block.
    write : In(write_layout(plan))
        Write port of the activation memory.
    activation : Out(ArrayLayout(signed, lanes))
        ``latency`` cycles after base and index.
    """

    base: Signal
    index: data.View
    write: data.View
    activation: data.View

    def __init__(self, plan: Plan) -> None:
        widths, lanes = plan.widths, self.lanes_of(plan)
        super().__init__(
            plan,
            {
                "base": In(widths.address),
                "index": In(data.ArrayLayout(max(1, widths.index), lanes)),
                "write": In(write_layout(plan)),
                "activation": Out(data.ArrayLayout(signed(widths.activation), lanes)),
            },
        )

    @staticmethod
    def lanes_of(plan: Plan) -> int:
        """How many lanes a memory serves."""
        return 1 + plan.latency.shared

    @property
    def latency(self) -> int:
        return 1 + Ram.latency

    @staticmethod
    def model(memory: list[int], base: int, index: int) -> int:
        return memory[base + index]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A register for the address, then the memory.
        assert self.latency == self._plan.latency.address + self._plan.latency.activation
        if self._plan.latency.shared:
            self._shared(m)
            return m
        m.submodules.memory = memory = activation_memory(self._plan)
        address = Signal.like(memory.read_address, reset_less=True)
        m.d.sync += address.eq(self._decoded(0))
        m.d.comb += [
            memory.write_enable.eq(self.write.enable),
            memory.write_address.eq(self.write.address),
            memory.write_data.eq(self.write.data),
            memory.read_enable.eq(1),
            memory.output_enable.eq(1),
            memory.read_address.eq(address),
            self.activation[0].eq(memory.read_data.as_signed()),
        ]
        return m

    def _decoded(self, lane: int) -> Value:
        """Address of the activation of a code."""
        return self.base | self.index[lane] if self._plan.disjoint else self.base + self.index[lane]

    def _shared(self, m: Module) -> None:
        """A memory for two lanes. A write goes through the address register of the first one."""
        plan = self._plan
        memory = SharedRam(plan.widths.activation, plan.memory_depth, plan.images.get("activations"))
        m.submodules.memory = memory
        a, b = (Signal.like(memory.address_a, name=name, reset_less=True) for name in ("a", "b"))
        enable = Signal()
        value = Signal.like(memory.write_data, reset_less=True)
        m.d.sync += [
            a.eq(Mux(self.write.enable, self.write.address, self._decoded(0))),
            b.eq(self._decoded(1)),
            enable.eq(self.write.enable),
            value.eq(self.write.data),
        ]
        m.d.comb += [
            memory.write_enable.eq(enable),
            memory.write_data.eq(value),
            memory.address_a.eq(a),
            memory.address_b.eq(b),
            self.activation[0].eq(memory.read_data_a.as_signed()),
            self.activation[1].eq(memory.read_data_b.as_signed()),
        ]
