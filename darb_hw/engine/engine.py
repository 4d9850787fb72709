"""The engine: loader, sequencer, lanes, drain, requantiser, cells and sender, with AXI4-Stream ports."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from darb_hw.device.pipeline import delay, fanout, fanout_to
from darb_hw.engine.cell import CellUnit
from darb_hw.engine.codes import Codes
from darb_hw.engine.drain import Drain
from darb_hw.engine.fetch import Fetch, activation_memory
from darb_hw.engine.lane import Lane
from darb_hw.engine.loader import Loader
from darb_hw.engine.planned import Planned
from darb_hw.engine.requant import AHEAD, Requantiser, result_layout
from darb_hw.engine.sender import Sender
from darb_hw.engine.sequencer import Sequencer
from darb_hw.engine.writeback import write_layout
from darb_hw.plan.memory_map import STATES
from darb_hw.plan.plan import Plan
from darb_hw.plan.roms import GATE

__all__ = ["Engine", "bus_bits"]

_TREE = 2
"""Registers from what steers the lanes to each of them, in a tree."""


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
        High for a cycle, once an element shows that an input frame is wrong; it is dropped from there on.
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
            # A register behind the port: what is decided of an element begins at registers.
            self.s_axis_tready.eq(loader.i.ready | ~loader.i.valid),
            self.m_axis_tvalid.eq(sender.o.valid),
            self.m_axis_tdata.eq(sender.o.payload.data),
            self.m_axis_tlast.eq(sender.o.payload.last),
            sender.o.ready.eq(self.m_axis_tready),
        ]
        assert latency.accept == 1
        with m.If(self.s_axis_tready):
            m.d.sync += [
                loader.i.valid.eq(self.s_axis_tvalid),
                loader.i.payload.data.eq(self.s_axis_tdata),
                loader.i.payload.last.eq(self.s_axis_tlast),
            ]
        m.d.sync += self.frame_error.eq(loader.error)

        # An inference (or step) begins when its input is there, the program is through with the one before, and there
        # is room for its output.
        every = plan.network.emit == "step"
        m.d.comb += [
            sequencer.go.eq(delay(m, loader.ready & sender.room, 1, "go", control=True)),
            sequencer.upcoming.final.eq(loader.final),
            sequencer.upcoming.fresh.eq(loader.fresh),
            sequencer.upcoming.second.eq(loader.second),
            loader.begin.eq(sequencer.begin),
            loader.release.eq(delay(m, sequencer.release, latency.release, "release", control=True)),
            sender.begin.eq(sequencer.begin & (every | loader.final)),
            sender.final.eq(loader.final),
            # Of a step without output, what its body has computed of it.
            sender.discard.eq(Const(0, 1) if every else sequencer.begin & ~sequencer.now.final),
        ]
        with m.If(sequencer.begin):
            m.d.sync += sequencer.upcoming.odd.eq(~sequencer.upcoming.odd)
        # What comes in finds the write port free.
        assert loader.latency == AHEAD + latency.write
        # The last element is in the memories before the first step can address it.
        assert loader.latency + latency.visible <= latency.start + latency.issue + latency.fetch

        result = Signal(result_layout(plan))
        m.d.sync += result.eq(requant.result)
        assert latency.write == 1
        write = Signal(write_layout(plan))
        m.d.comb += sender.result.eq(result)
        # Whether a result goes to the memories is known long before the result.
        inside = delay(m, requant.ahead, AHEAD + latency.write, "inside", control=True)
        self._write(m, write, inside, result, loader.write, self._cells(m, result, sequencer.now, loader, requant))
        copies = fanout(m, write, -(-plan.config.lanes // 8), "write", cycles=latency.spread)
        copies = [write.shape()(copy) for copy in copies]

        accumulators = self._lanes(m, sequencer, copies)
        step, ends = sequencer.step, latency.lane - 1 - latency.early
        m.d.comb += [
            drain.capture.eq(delay(m, step.valid & step.last, ends, "capture", control=True)),
            drain.context.eq(delay(m, step.context, ends, "context")),
            Value.cast(drain.accumulators).eq(Cat(accumulators)),
            requant.valid.eq(drain.valid),
            requant.row.eq(drain.row),
            requant.value.eq(drain.value),
            requant.context.eq(drain.passing),
        ]
        if latency.operand or latency.maximum:
            m.submodules.aux = aux = activation_memory(plan)
            m.d.comb += [
                aux.write_enable.eq(copies[0].enable),
                aux.write_address.eq(copies[0].address),
                aux.write_data.eq(copies[0].data),
                aux.read_enable.eq(1),
                aux.output_enable.eq(1),
                aux.read_address.eq(requant.read_address),
                requant.read_data.eq(aux.read_data),
            ]
        return m

    def _write(self, m: Module, write, inside, result, load, unit) -> None:
        """The write port: input, results, outputs of cells; the schedule keeps them apart."""
        memory = self._plan.memory
        enable, address, value = inside | load.enable, Mux(inside, result.address, load.address), load.data
        value = Mux(inside, result.value, value)
        if unit is not None:
            o, bank = unit
            enable = enable | o.valid
            address = Mux(o.valid, o.unit + bank + memory.regions[STATES].start, address)
            value = Mux(o.valid, o.value, value)
        m.d.comb += [write.enable.eq(enable), write.address.eq(address), write.data.eq(value)]

    def _cells(self, m: Module, result, now, loader: Loader, requant: Requantiser):
        """The cells: their output, and the bank that it goes to."""
        plan = self._plan
        if not plan.network.cells:
            m.d.comb += loader.busy.eq(requant.ahead)
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
            cells.fresh.eq(now.fresh),
            loader.busy.eq(requant.ahead | cells.ahead),
        ]
        unit = Signal(cells.o.shape())
        m.d.comb += unit.eq(cells.o)
        return unit, Mux(delay(m, now.odd, cells.latency, "odd"), 0, plan.memory.bank)

    def _lanes(self, m: Module, sequencer: Sequencer, writes: list):
        """Codes, activations and lanes; returns the accumulators and the context of their group, as it ends."""
        plan, latency, step = self._plan, self._plan.latency, sequencer.step
        lanes = plan.config.lanes
        m.submodules.codes = codes = Codes(plan)
        m.d.comb += [
            codes.restart.eq(delay(m, sequencer.begin, latency.issue - 1, "restart", control=True)),
            codes.step.eq(step),
        ]

        def steered(value, after: int, name: str, lanes_each: int, control: bool = False) -> list:
            """``value``, ``after`` cycles later, for each lane: from a register for every ``lanes_each`` lanes."""
            late = delay(m, value, after - _TREE, name, control=control)
            return fanout_to(m, late, lanes, lanes_each, name, cycles=_TREE)

        base = steered(step.base, latency.code, "base", 4)
        # Control of the accumulators, of the shadow row, in step with the data.
        enable = steered(step.valid, latency.lane - 1, "enable", 2, control=True)
        clear = steered(step.first, latency.lane - 1, "clear", 2)
        accumulators = []
        for number in range(lanes):
            m.submodules[f"lane_{number}"] = lane = Lane(plan)
            port = number % Fetch.lanes_of(plan)
            if not port:
                m.submodules[f"fetch_{number}"] = fetch = Fetch(plan)
                m.d.comb += [
                    fetch.base.eq(base[number]),
                    fetch.write.eq(writes[number * len(writes) // lanes]),
                ]
                assert codes.latency + fetch.latency == codes.latency_weight
            assert codes.latency_weight + lane.latency == latency.lane
            m.d.comb += [
                fetch.index[port].eq(codes.index[number]),
                lane.activation.eq(fetch.activation[port]),
                lane.weight.eq(codes.weight[number]),
                lane.enable.eq(enable[number]),
                lane.clear.eq(clear[number]),
            ]
            accumulators.append(lane.accumulator)
        return accumulators
