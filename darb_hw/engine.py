"""The engine: loader, sequencer, lanes, drain, requantiser and sender, with AXI4-Stream ports."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from darb_hw.drain import Drain
from darb_hw.lane import Lane
from darb_hw.loader import Loader
from darb_hw.memory import Rom
from darb_hw.pipeline import delay
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.requant import Requantiser, result_layout
from darb_hw.sender import Sender
from darb_hw.sequencer import Sequencer
from darb_hw.writeback import write_layout

__all__ = ["Engine", "bus_bits"]


def bus_bits(bits: int) -> int:
    """Width of ``tdata``: whole bytes, as AXI4-Stream wants it; elements are sign-extended."""
    return -(-bits // 8) * 8


class Engine(Planned):
    """The whole inference engine of a plan.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    s_axis_tdata, s_axis_tvalid, s_axis_tlast : In
    s_axis_tready : Out
        Input frames: ``plan.input_size`` elements, ``tlast`` with the last.
    m_axis_tdata, m_axis_tvalid, m_axis_tlast : Out
    m_axis_tready : In
        Output frames: ``plan.output_size`` elements in logical order.
    frame_error : Out(1)
        High for a cycle after an input frame of the wrong length, which is dropped.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "s_axis_tdata": In(bus_bits(plan.widths.input)),
                "s_axis_tvalid": In(1),
                "s_axis_tlast": In(1),
                "s_axis_tready": Out(1),
                "m_axis_tdata": Out(bus_bits(plan.widths.output)),
                "m_axis_tvalid": Out(1),
                "m_axis_tlast": Out(1),
                "m_axis_tready": In(1),
                "frame_error": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        plan, latency = self._plan, self._plan.latency
        m.submodules.loader = loader = Loader(plan)
        m.submodules.sequencer = sequencer = Sequencer(plan)
        m.submodules.codes = codes = Rom(plan.images["codes"])
        m.submodules.drain = drain = Drain(plan)
        m.submodules.requant = requant = Requantiser(plan)
        m.submodules.sender = sender = Sender(plan)

        m.d.comb += [
            loader.i.valid.eq(self.s_axis_tvalid),
            loader.i.payload.data.eq(self.s_axis_tdata),
            loader.i.payload.last.eq(self.s_axis_tlast),
            self.s_axis_tready.eq(loader.i.ready),
            self.m_axis_tvalid.eq(sender.o.valid),
            self.m_axis_tdata.eq(sender.o.payload.data),
            self.m_axis_tlast.eq(sender.o.payload.last),
            sender.o.ready.eq(self.m_axis_tready),
        ]
        m.d.sync += self.frame_error.eq(loader.error)

        # One inference at a time: load, wait until the frame before has left, run.
        starting, finished = Signal(), Signal()
        with m.FSM() as fsm:
            with m.State("LOAD"), m.If(loader.done):
                m.next = "ARMED"
            with m.State("ARMED"), m.If(sender.idle):
                m.next = "RUN"
            with m.State("RUN"), m.If(finished):
                m.next = "LOAD"
        # Plain assignments: an output set inside a state would be a Verilog block that Icarus runs only once the
        # state changes, so that it would be unknown after reset.
        m.d.comb += [
            loader.accept.eq(fsm.ongoing("LOAD")),
            starting.eq(fsm.ongoing("ARMED") & sender.idle),
        ]
        m.d.comb += sequencer.start.eq(delay(m, starting, latency.start - 1, "starting", control=True))

        # The last element is in the memories before the first step can address it.
        assert loader.latency < latency.start + latency.issue + latency.code + latency.address

        # Codes are read one after another; a step and its code meet again in the lanes. A register more than the
        # ROM has: its block RAMs and the lanes they serve can stand far apart.
        step = sequencer.step
        code_address = Signal.like(codes.address)
        m.d.comb += codes.address.eq(code_address)
        with m.If(finished):
            m.d.sync += code_address.eq(0)
        with m.Elif(step.valid):
            m.d.sync += code_address.eq(code_address + 1)
        base = delay(m, step.base, latency.code, "base")

        # Control of the accumulators, of the shadow row, in step with the data.
        enable = delay(m, step.valid, latency.lane - 1, "enable", control=True)
        clear = delay(m, step.first, latency.lane - 1, "clear")
        capture = delay(m, step.valid & step.last, latency.lane, "capture", control=True)
        rows = delay(m, step.rows, latency.lane, "rows")

        result = Signal(result_layout(plan))
        m.d.sync += result.eq(requant.result)
        assert latency.write == 1
        write = Signal(write_layout(plan))
        inside = Signal()
        m.d.comb += [
            finished.eq(result.valid & result.last),
            sender.result.eq(result),
            inside.eq(result.valid & ~result.output),
            write.enable.eq(inside | loader.write.enable),
            write.address.eq(Mux(inside, result.address, loader.write.address)),
            write.data.eq(Mux(inside, result.value, loader.write.data)),
        ]

        way, parts = latency.code - codes.latency, ("index", "weight")
        accumulators = []
        for number in range(plan.config.lanes):
            lane = Lane(plan)
            m.submodules[f"lane_{number}"] = lane
            assert lane.latency + latency.code == latency.lane
            m.d.comb += [
                lane.base.eq(base),
                *(lane.code[name].eq(delay(m, codes.field(name, number), way, f"{name}_{number}")) for name in parts),
                lane.write.eq(write),
                lane.enable.eq(enable),
                lane.clear.eq(clear),
            ]
            accumulators.append(lane.accumulator)
        m.d.comb += [
            drain.capture.eq(capture),
            drain.rows.eq(rows),
            Value.cast(drain.accumulators).eq(Cat(accumulators)),
            requant.valid.eq(drain.valid),
            requant.value.eq(drain.value),
        ]
        return m
