"""The engine: loader, sequencer, lanes, drain, requantiser, cells and sender, with AXI4-Stream ports."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from darb_hw.cell import CellUnit
from darb_hw.drain import Drain
from darb_hw.fetch import activation_memory
from darb_hw.lane import Lane
from darb_hw.loader import Loader
from darb_hw.memory import Rom
from darb_hw.memory_map import STATES
from darb_hw.pipeline import delay
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.requant import Requantiser, result_layout
from darb_hw.roms import GATE, INSIDE
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
        Input frames: ``plan.input_size`` elements, ``tlast`` with the last; of a recurrent network so many for each
        step of a sequence.
    m_axis_tdata, m_axis_tvalid, m_axis_tlast : Out
    m_axis_tready : In
        Output frames: ``plan.output_size`` elements in logical order; of a recurrent network so many for each step,
        or for the last step only.
    frame_error : Out(1)
        High for a cycle after an element that shows that an input frame is wrong; it is dropped from there on.
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

        # One inference (or step) at a time: load, wait until there is room for its output, run.
        starting, finished = Signal(), Signal()
        m.d.comb += finished.eq(sequencer.done)
        with m.FSM() as fsm:
            with m.State("LOAD"), m.If(loader.done):
                m.next = "ARMED"
            with m.State("ARMED"), m.If(sender.room):
                m.next = "RUN"
            with m.State("RUN"), m.If(finished):
                m.next = "LOAD"
        # Plain assignments: an output set inside a state would be a Verilog block that Icarus runs only once the
        # state changes, so that it would be unknown after reset.
        m.d.comb += [
            loader.accept.eq(fsm.ongoing("LOAD")),
            starting.eq(fsm.ongoing("ARMED") & sender.room),
            sequencer.start.eq(delay(m, starting, latency.start - 1, "starting", control=True)),
        ]
        fresh, odd = self._steps(m, finished, loader)
        every = plan.network.emit == "step"
        m.d.comb += [
            sequencer.final.eq(loader.final),
            sequencer.fresh.eq(fresh),
            sequencer.odd.eq(odd),
            sender.begin.eq(starting & (every | loader.final)),
            sender.final.eq(loader.final),
        ]

        # The last element is in the memories before the first step can address it.
        assert loader.latency < latency.start + latency.issue + latency.fetch

        result = Signal(result_layout(plan))
        m.d.sync += result.eq(requant.result)
        assert latency.write == 1
        write = Signal(write_layout(plan))
        m.d.comb += sender.result.eq(result)
        self._write(m, write, result, loader.write, self._cells(m, result, fresh, odd))

        accumulators, context = self._lanes(m, sequencer.step, finished, write, drain)
        m.d.comb += [
            drain.context.eq(context),
            Value.cast(drain.accumulators).eq(Cat(accumulators)),
            requant.valid.eq(drain.valid),
            requant.row.eq(drain.row),
            requant.value.eq(drain.value),
            requant.context.eq(drain.passing),
        ]
        if latency.operand or latency.maximum:
            m.submodules.aux = aux = activation_memory(plan)
            m.d.comb += [
                aux.write_enable.eq(write.enable),
                aux.write_address.eq(write.address),
                aux.write_data.eq(write.data),
                aux.read_enable.eq(1),
                aux.read_address.eq(requant.read_address),
                requant.read_data.eq(aux.read_data),
            ]
        return m

    def _steps(self, m: Module, finished, loader: Loader):
        """Of a sequence: whether this is its first step, and whether its number is odd."""
        if not self._plan.network.cells:
            return Const(0, 1), Const(0, 1)
        fresh, odd = Signal(init=1), Signal()
        with m.If(finished):
            m.d.sync += [fresh.eq(loader.final), odd.eq(~odd)]
        with m.If(loader.error):  # the rest of this sequence is dropped
            m.d.sync += fresh.eq(1)
        return fresh, odd

    def _write(self, m: Module, write, result, load, unit) -> None:
        """The write port: input, results, outputs of cells; the schedule keeps them apart."""
        memory = self._plan.memory
        inside = Signal()
        m.d.comb += inside.eq(result.valid & (result.target == INSIDE))
        enable, address, value = inside | load.enable, Mux(inside, result.address, load.address), load.data
        value = Mux(inside, result.value, value)
        if unit is not None:
            o, bank = unit
            enable = enable | o.valid
            address = Mux(o.valid, o.unit + bank + memory.regions[STATES].start, address)
            value = Mux(o.valid, o.value, value)
        m.d.comb += [write.enable.eq(enable), write.address.eq(address), write.data.eq(value)]

    def _cells(self, m: Module, result, fresh, odd):
        """The cells: their output, and the bank that it goes to."""
        plan = self._plan
        if not plan.network.cells:
            return None
        cell = plan.network.cells[0]
        bits = plan.network.tensor(cell.output).bits
        state, tanh = plan.images["cell_state"], plan.images["cell_tanh"]
        m.submodules.cells = cells = CellUnit(cell.kind, plan.memory.bank, bits, state, tanh, plan.cell_style)
        assert cells.latency == plan.latency.cell
        m.d.comb += [
            cells.i.valid.eq(result.valid & (result.target == GATE)),
            cells.i.fire.eq(result.fire),
            cells.i.bank.eq(result.bank),
            cells.i.unit.eq(result.address),
            cells.i.value.eq(result.value),
            cells.fresh.eq(fresh),
        ]
        unit = Signal(cells.o.shape())
        m.d.comb += unit.eq(cells.o)
        return unit, Mux(odd, 0, plan.memory.bank)

    def _lanes(self, m: Module, step, finished, write, drain: Drain):
        """Code ROM and lanes; returns the accumulators and the context of their group, as it ends."""
        plan, latency = self._plan, self._plan.latency
        m.submodules.codes = codes = Rom(plan.images["codes"])
        # Codes are read one after another, those of a group once for each of its passes; a step and its code meet
        # again in the lanes. A register more than the ROM has: its block RAMs and the lanes can stand far apart.
        code = Signal.like(codes.address)
        m.d.comb += codes.address.eq(code)
        following = Signal.like(code)
        m.d.comb += following.eq(code + 1)
        with m.If(finished):
            m.d.sync += code.eq(0)
        with m.Elif(step.valid):
            m.d.sync += code.eq(following)
        if plan.walks:
            group = Signal.like(code)
            with m.If(finished):
                m.d.sync += group.eq(0)
            with m.Elif(step.valid & step.last):
                with m.If(step.context.again):
                    m.d.sync += code.eq(group)
                with m.Else():
                    m.d.sync += group.eq(following)
        base = delay(m, step.base, latency.code, "base")

        # Control of the accumulators, of the shadow row, in step with the data.
        enable = delay(m, step.valid, latency.lane - 1, "enable", control=True)
        clear = delay(m, step.first, latency.lane - 1, "clear")
        m.d.comb += drain.capture.eq(delay(m, step.valid & step.last, latency.lane - 1, "capture", control=True))
        context = delay(m, step.context, latency.lane, "context")

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
        return accumulators, context
