"""Output: collects the results that leave the engine and sends them as frames."""

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Ram
from darb_hw.engine.loader import element_layout
from darb_hw.engine.planned import Planned
from darb_hw.engine.requant import result_layout
from darb_hw.engine.subsets import of_subset
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan
from darb_hw.plan.roms import OUTPUT
from darb_prune.encoded import elements_of

__all__ = ["Sender"]


class Sender(Planned):
    """Buffers the results of the output tensor, and sends them when all are there.

    There are ``plan.output_banks`` buffers, the banks of one memory: one is filled while another one is sent.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    result : In(result_layout(plan))
    begin : In(1)
        An inference or a time step begins that gives an output.
    final : In(1)
        With ``begin``: this output ends a frame. That of a time step does only if the step is the last one of its
        sequence.
    subset : In(unsigned)
        With ``begin``: the tasks whose outputs it has, all of them if 0. It is there if the network has tasks.
    discard : In(1)
        The results that have come since the last complete output belong to no output.
    o : Out(stream.Signature(element_layout))
        The first element comes ``latency`` cycles after the last result, if nothing is to be sent before it.
    room : Out(1)
        There was a buffer for one more output in the cycle before. ``begin`` may be set only then.
    """

    result: data.View
    begin: Signal
    final: Signal
    discard: Signal
    o: stream.Interface
    room: Signal
    subset: Signal

    def __init__(self, plan: Plan) -> None:
        super().__init__(
            plan,
            {
                "result": In(result_layout(plan)),
                "begin": In(1),
                "final": In(1),
                "discard": In(1),
                "o": Out(stream.Signature(element_layout(plan.widths.output))),
                "room": Out(1),
            }
            | ({"subset": In(plan.tasks)} if plan.tasks else {}),
        )

    @property
    def latency(self) -> int:
        return 3 + Ram.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, banks = self._plan.output_size, self._plan.output_banks
        m.submodules.buffer = buffer = Ram(self._plan.widths.output, (banks - 1 << self._address_bits) + size)
        finals, subsets = self._mark(m)
        complete = self._fill(m, buffer, subsets)
        self._send(m, buffer, finals, subsets, complete)
        return m

    @property
    def _address_bits(self) -> int:
        """Bits of an address within a bank."""
        return max(1, unsigned_bits(self._plan.output_size - 1))

    def _following(self, bank: Value) -> Value:
        """The bank behind ``bank``."""
        return Mux(bank == self._plan.output_banks - 1, 0, bank + 1)

    def _mark(self, m: Module) -> tuple[Signal, list[Signal]]:
        """Whether the output of each bank ends a frame, and the tasks that it has, if the network has any."""
        banks = self._plan.output_banks
        begun = Signal(range(banks), name="begun")
        finals = Signal(banks)
        subsets = [Signal(self._plan.tasks, name=f"subset_{bank}") for bank in range(banks) if self._plan.tasks]
        with m.If(self.begin):
            m.d.sync += begun.eq(self._following(begun))
            for bank in range(banks):
                with m.If(begun == bank):
                    m.d.sync += finals[bank].eq(self.final)
                    if subsets:
                        m.d.sync += subsets[bank].eq(self.subset)
        return finals, subsets

    def _fill(self, m: Module, buffer: Ram, subsets: list[Signal]) -> Signal:
        """Writes results to a bank, from registers of their own: the buffer can stand far from the write-back. Gives
        whether an output is complete."""
        plan = self._plan
        filled = Signal(range(plan.output_banks), name="filled")
        address, value = Signal(self._address_bits, reset_less=True), Signal(plan.widths.output, reset_less=True)
        taken, discard, complete = Signal(), Signal(), Signal()
        m.d.sync += [
            taken.eq(self.result.valid & (self.result.target == OUTPUT)),
            address.eq(self.result.address),
            value.eq(self.result.value),
            discard.eq(self.discard),
        ]
        m.d.comb += [
            complete.eq(taken & self._awaited(m, taken, complete | discard, filled, subsets)),
            buffer.write_enable.eq(taken),
            buffer.write_address.eq(Cat(address, filled)),
            buffer.write_data.eq(value),
        ]
        with m.If(complete):
            m.d.sync += filled.eq(self._following(filled))
        return complete

    def _awaited(self, m: Module, taken: Value, anew: Value, filled: Value, subsets: list[Signal]) -> Value:
        """Whether the output waits for no more than one result. It counts results ``taken``, and those of another
        output ``anew``."""
        writes = self._plan.output_writes
        if subsets:  # the bank has been marked when the first result comes
            last = {subset: count - 1 for subset, count in writes.items()}
            count = Signal(range(max(writes.values())))
            with m.If(taken):
                m.d.sync += count.eq(count + 1)
            with m.If(anew):
                m.d.sync += count.eq(0)
            return count == of_subset(_chosen(subsets, filled), last)
        missing, ending = Signal(range(writes[1] + 1), init=writes[1] - 1), Signal(init=writes[1] == 1)
        # Results that the output waits for behind this one; that there are none is known a cycle before.
        with m.If(taken):
            m.d.sync += [missing.eq(missing - 1), ending.eq(missing == 1)]
        with m.If(anew):
            m.d.sync += [missing.eq(writes[1] - 1), ending.eq(writes[1] == 1)]
        return ending

    def _send(self, m: Module, buffer: Ram, finals: Value, subsets: list[Signal], complete: Value) -> None:
        """Reads complete outputs and offers them, an element a cycle.

        An element goes through the two stages of the memory. Each stage moves on when the one behind it does, or is
        empty. What the memory gives while an element waits at the port is kept in ``spare``. So ``move`` depends on
        registers alone.
        """
        size, banks = self._plan.output_size, self._plan.output_banks
        sent = Signal(range(banks), name="sent")
        # Outputs that are complete and not yet read; outputs that have begun and not yet left.
        waiting, held = Signal(range(banks + 1)), Signal(range(banks + 1))
        position = Signal(range(max(size, 2)))
        # ``fetch``, ``move``: the first and the second stage take an element. ``end``: it is the last one.
        fetch, move, busy, end, leaves = Signal(), Signal(), Signal(), Signal(init=size == 1), Signal()
        fetched, fetched_end, final = Signal(), Signal(), Signal()
        layout = data.StructLayout({"valid": 1, "ends": 1, "element": self.o.payload.shape()})
        read, spare, shown = (Signal(layout, name=name) for name in ("read", "spare", "shown"))
        opens = Signal()
        element, goes_on = self._walk(m, position, end, sent, subsets)
        # A register before the buffer, ``waiting``, the memory, ``shown``.
        assert self.latency == 1 + 1 + Ram.latency + 1 == self._plan.latency.send
        m.d.comb += [
            move.eq(~read.valid | ~spare.valid),
            fetch.eq(~fetched | move),
            busy.eq(waiting != 0),
            buffer.read_enable.eq(fetch),
            buffer.output_enable.eq(move),
            buffer.read_address.eq(Cat(element, sent)),
            read.element.data.eq(buffer.read_data),
            opens.eq(~shown.valid | self.o.ready),
            self.o.valid.eq(shown.valid),
            self.o.payload.eq(shown.element),
            leaves.eq(shown.valid & self.o.ready & shown.ends),
        ]
        with m.If(fetch):
            m.d.sync += [
                fetched.eq(busy),
                fetched_end.eq(end),
                final.eq(Mux(sent == 0, finals[0], Mux(sent == 1, finals[1], finals[banks - 1]))),
            ]
            with m.If(busy):
                m.d.sync += goes_on
                with m.If(end):
                    m.d.sync += sent.eq(self._following(sent))
        with m.If(move):
            m.d.sync += [
                read.valid.eq(fetched),
                read.ends.eq(fetched_end),
                read.element.last.eq(fetched_end & final),
            ]
        with m.If(~spare.valid):
            m.d.sync += spare.eq(read)
        with m.If(opens):
            m.d.sync += [shown.eq(Mux(spare.valid, spare, read)), spare.valid.eq(0)]
        m.d.sync += [
            waiting.eq(waiting + complete - (fetch & busy & end)),
            held.eq(held + self.begin - leaves),
            self.room.eq(held < banks - self.begin),
        ]

    def _walk(
        self, m: Module, position: Signal, end: Signal, sent: Value, subsets: list[Signal]
    ) -> tuple[Value, list[Any]]:
        """The number of the element that is read, and what takes the walk to the next one. Drives ``end``."""
        size = self._plan.output_size
        if not subsets:
            following = position.eq(Mux(end, 0, position + 1))
            return position, [following, end.eq(((position == size - 2) & ~end) | (size == 1))]
        # The outputs of some tasks, one behind the other. Which element is the first one is known once the output is
        # there; ``position`` holds the others.
        subset, first, element = _chosen(subsets, sent), Signal(init=1), Signal.like(position, name="element")
        elements = {number: elements_of(self._plan.network, number).tolist() for number in self._plan.subsets}
        m.d.comb += [
            element.eq(Mux(first, of_subset(subset, {number: run[0] for number, run in elements.items()}), position)),
            end.eq(element == of_subset(subset, {number: run[-1] for number, run in elements.items()})),
        ]
        behind: Value = element + 1
        for number, run in elements.items():
            for before, after in pairwise(run):
                if after != before + 1:
                    behind = Mux((subset == number) & (element == before), after, behind)
        return element, [first.eq(end), position.eq(behind)]


def _chosen(subsets: list[Signal], bank: Value) -> Value:
    """The tasks of the output of a bank."""
    chosen: Value = subsets[0]
    for number, subset in enumerate(subsets[1:], 1):
        chosen = Mux(bank == number, subset, chosen)
    return chosen
