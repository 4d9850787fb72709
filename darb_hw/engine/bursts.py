"""Results on their way to single-port RAMs: put together, and written where nothing is read."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.engine.planned import Planned
from darb_hw.engine.writeback import write_layout
from darb_hw.plan.plan import Plan

__all__ = ["Bursts", "burst_layout"]


def burst_layout(plan: Plan) -> data.StructLayout:
    """What is written in a cycle: an address for each pair of banks; whether each bank is written, and with what."""
    banks = plan.config.banks
    return data.StructLayout(
        {
            "address": data.ArrayLayout(plan.widths.address, banks // 2),
            "enable": banks,
            "data": data.ArrayLayout(plan.widths.activation, banks),
        }
    )


class Bursts(Planned):
    """Results come one by one. Those that the plan writes in one cycle are put together, up to the one that ends the
    burst. Then it waits in a queue for a cycle in which no lane reads.

    The plan gives each pass idle cycles, so that there is always room in the queue.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    write : In(write_layout(plan))
        A result, or an element that comes in.
    idle : In(1)
        No lane reads in the cycle behind.
    o : Out(burst_layout(plan))
        What is written in the cycle behind; ``enable`` is 0 if it is nothing. With an idle cycle and an empty queue, a
        burst is there two cycles after its last result.
    """

    write: data.View
    idle: Signal
    o: data.View

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, {"write": In(write_layout(plan)), "idle": In(1), "o": Out(burst_layout(plan))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        whole = Signal()
        burst = self._gather(m, whole)
        head, there = self._queue(m, burst, whole)
        m.d.comb += [self.o.eq(head), self.o.enable.eq(Mux(self.idle & there, head.enable, 0))]
        return m

    def _gather(self, m: Module, whole: Signal) -> data.View:
        """Results up to the end of a burst. ``whole``: the burst ends with the last of them."""
        banks, write = self._plan.config.banks, self.write
        burst = Signal(burst_layout(self._plan), name="burst", reset_less=True)
        taken = Signal(banks, name="taken")
        m.d.sync += whole.eq(write.enable & write.ends)
        for bank in range(banks):
            hit = write.enable & (write.bank == bank)
            m.d.sync += taken[bank].eq(hit | (taken[bank] & ~whole))
            with m.If(hit):
                m.d.sync += burst.data[bank].eq(write.data)
        for pair in range(banks // 2):
            with m.If(write.enable & (write.bank[1:] == pair)):
                m.d.sync += burst.address[pair].eq(write.address)
        gathered = Signal(burst_layout(self._plan), name="gathered")
        m.d.comb += [gathered.eq(burst), gathered.enable.eq(taken)]
        return gathered

    def _queue(self, m: Module, burst: data.View, whole: Signal) -> tuple[data.View, Value]:
        """Bursts that wait. Gives the oldest one, and whether there is one."""
        depth, layout = self._plan.queue, burst_layout(self._plan)
        entries = [Signal(layout, name=f"entry_{number}", reset_less=True) for number in range(depth)]
        there = Signal(depth, name="there")
        leaves, left = Signal(), Signal(depth)
        m.d.comb += [leaves.eq(self.idle & there[0]), left.eq(Mux(leaves, there >> 1, there))]
        m.d.sync += there.eq(Mux(whole, Cat(1, left[: depth - 1]), left))
        for number, entry in enumerate(entries):
            before = left[number - 1] if number else 1
            moved = entries[number + 1] if number + 1 < depth else burst
            with m.If(whole & ~left[number] & before):
                m.d.sync += entry.eq(burst)
            with m.Elif(leaves):
                m.d.sync += entry.eq(moved)
        return entries[0], there[0]
