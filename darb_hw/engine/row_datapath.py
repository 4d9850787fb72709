"""Lanes over rows: each lane computes another row, and has a copy of what it reads."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from darb_hw.device.pipeline import delay, fanout
from darb_hw.engine.cell import CellUnit, unit_layout
from darb_hw.engine.datapath import Datapath
from darb_hw.engine.drain import Drain
from darb_hw.engine.fetch import Fetch, activation_memory
from darb_hw.engine.lane import Lane
from darb_hw.engine.loader import Loader
from darb_hw.engine.requant import Requantiser, result_layout
from darb_hw.engine.sender import Sender
from darb_hw.engine.sequencer import Sequencer
from darb_hw.engine.writeback import write_layout
from darb_hw.plan.clusters import ALL
from darb_hw.plan.memory_map import STATES
from darb_hw.plan.plan import Plan
from darb_hw.plan.roms import GATE

__all__ = ["RowDatapath"]


class RowDatapath(Datapath):
    """One requantiser, cells if the network has some, lanes in clusters if the plan has some.

    Parameters
    ----------
    plan, m, loader, sequencer
        See :class:`Datapath`.
    """

    def __init__(self, plan: Plan, m: Module, loader: Loader, sequencer: Sequencer) -> None:
        super().__init__(plan, m, loader, sequencer)
        m.submodules.drain = self._drain = Drain(plan)
        m.submodules.requant = self._requant = self._reading(Requantiser(plan))

    def connect(self, sender: Sender) -> None:
        """Add the other parts, and connect all of them."""
        m, plan, latency, requant = self._m, self._plan, self._plan.latency, self._requant
        result = Signal(result_layout(plan))
        m.d.sync += result.eq(requant.result)
        write = Signal(write_layout(plan))
        m.d.comb += sender.result.eq(result)
        # Whether a result goes to the memories is known long before the result.
        inside = delay(m, requant.ahead, latency.ahead + latency.write, "inside", control=True)
        self._write(write, inside, result, self._cells(result))
        if plan.clustered:
            m.d.comb += write.cluster.eq(Mux(inside, result.cluster, self._loader.bank))
        # ``result`` and ``inside`` are this late. What comes in is announced as early, so that it finds the port free.
        assert latency.write == 1
        assert self._loader.latency == latency.ahead + latency.write
        copies = self._writes(write)
        self._sum(self._lanes(copies))
        if latency.reads_back:
            self._read(copies[0])

    def _write(self, write: data.View, inside: Value, result: data.View, unit: tuple[data.View, Value] | None) -> None:
        """The write port takes input, results that stay ``inside``, and outputs of cells with the address of their
        bank. The schedule keeps them apart."""
        memory, load = self._plan.memory, self._loader.write
        enable, address, value = inside | load.enable, Mux(inside, result.address, load.address), load.data
        value = Mux(inside, result.value, value)
        if unit is not None:
            o, bank = unit
            enable = enable | o.valid
            states = memory.regions[STATES].start if memory.bank else 0
            address = Mux(o.valid, o.unit + bank + states, address)
            value = Mux(o.valid, o.value, value)
        self._m.d.comb += [write.enable.eq(enable), write.address.eq(address), write.data.eq(value)]

    def _cells(self, result: data.View) -> tuple[data.View, Value] | None:
        """The cells: their output, and the address that its unit is added to. Tells the loader when they or the
        requantiser write."""
        m, plan, loader, sequencer = self._m, self._plan, self._loader, self._sequencer
        now = sequencer.now
        if not plan.network.cells:
            m.d.comb += loader.busy.eq(self._requant.ahead)
            return None
        cell = plan.network.cells[0]
        bits = plan.network.tensor(cell.output).bits
        state, tanh = plan.images["cell_state"], plan.images["cell_tanh"]
        m.submodules.cells = cells = CellUnit(cell.kind, plan.memory.cell_units, bits, state, tanh, plan.cell_style)
        assert cells.latency == plan.latency.cell
        fresh = now.fresh
        if plan.network.sections:
            fresh = delay(m, fresh, plan.latency.enter, "fresh")
        m.d.comb += [
            cells.i.valid.eq(result.valid & (result.target == GATE)),
            cells.i.fire.eq(result.fire),
            cells.i.bank.eq(result.bank),
            cells.i.unit.eq(result.address),
            cells.i.value.eq(result.value),
            cells.fresh.eq(fresh),
            loader.busy.eq(self._requant.ahead | cells.ahead),
        ]
        unit = Signal(unit_layout(plan.memory.cell_units, bits))
        m.d.comb += unit.eq(cells.o)
        if plan.network.sections:
            # Gates of the step before may still come.
            arriving, columns = (Signal.like(sequencer.units, name=name) for name in ("arriving", "columns"))
            enters = delay(m, sequencer.enter, plan.latency.enter, "entered", control=True)
            with m.If(enters):
                m.d.sync += arriving.eq(sequencer.units)
            with m.If(delay(m, enters, cells.latency, "arrived", control=True)):
                m.d.sync += columns.eq(arriving)
            chosen: Value = columns[0]
            for number, first in enumerate(plan.memory.cells.values()):
                if number:  # units of all cells are numbered in a row
                    behind = delay(m, cells.i.unit >= first, cells.latency, f"cell_{number}")
                    chosen = Mux(behind, columns[number], chosen)
            return unit, chosen
        return unit, Mux(delay(m, now.odd, cells.latency, "odd"), 0, plan.memory.bank)

    def _writes(self, write: data.View) -> list[data.View]:
        """What is written, in registers for some lanes each, in the order of :meth:`_written`."""
        m, plan, clusters = self._m, self._plan, self._plan.config.clusters
        layout, copies = write_layout(plan), -(-plan.config.lanes // clusters // 8)
        if not plan.clustered:
            made = fanout(m, write, copies, "write", cycles=plan.latency.spread)
            return [layout(copy) for copy in made]
        writes: list[data.View] = []
        for cluster in range(clusters):
            own = Signal(layout, name=f"write_{cluster}")
            chosen = (write.cluster == ALL) | (write.cluster == cluster + 1)
            m.d.comb += [own.eq(write), own.enable.eq(write.enable & chosen)]
            made = fanout(m, own, copies, f"write_{cluster}", cycles=plan.latency.spread)
            writes += [layout(copy) for copy in made]
        return writes

    def _written(self, lane: int, copies: int) -> int:
        """Which of the copies of :meth:`_writes` a lane takes."""
        lanes, clusters = self._plan.config.lanes, self._plan.config.clusters
        each = copies // clusters
        return lane % clusters * each + lane // clusters * each * clusters // lanes

    def _lanes(self, writes: list[data.View]) -> list[Value]:
        """Codes, activations and lanes. Gives the accumulators."""
        m, plan, latency, step = self._m, self._plan, self._plan.latency, self._sequencer.step
        lanes = plan.config.lanes
        codes = self._codes()
        base = self._steered(step.base, latency.code, "base", 4)
        enable, clear = self._controls()
        accumulators: list[Value] = []
        fetches: list[Fetch] = []
        for lane_number in range(lanes):
            m.submodules[f"lane_{lane_number}"] = lane = Lane(plan)
            port = lane_number % Fetch.lanes_of(plan)
            if not port:
                m.submodules[f"fetch_{lane_number}"] = fetch = Fetch(plan)
                fetches.append(fetch)
                m.d.comb += [
                    fetch.base.eq(base[lane_number]),
                    fetch.write.eq(writes[self._written(lane_number, len(writes))]),
                ]
                # Activation and weight of a code reach the lane together.
                assert codes.latency + fetch.latency == codes.latency_weight
            assert codes.latency_weight + lane.latency == latency.lane
            fetch = fetches[-1]
            m.d.comb += [
                fetch.index[port].eq(codes.index[lane_number]),
                lane.activation.eq(fetch.activation[port]),
                lane.weight.eq(codes.weight[lane_number]),
                lane.enable.eq(enable[lane_number]),
                lane.clear.eq(clear[lane_number]),
            ]
            accumulators.append(lane.accumulator)
        return accumulators

    def _sum(self, accumulators: list[Value]) -> None:
        """From the accumulators through the shadow row to the requantiser."""
        drain, requant = self._drain, self._requant
        self._capture(accumulators, drain)
        self._m.d.comb += [
            requant.valid.eq(drain.valid),
            requant.row.eq(drain.row),
            requant.value.eq(drain.value),
            requant.context.eq(drain.passing),
        ]

    def _read(self, write: data.View) -> None:
        """A copy of the activation memory for what the write-back reads: operands and old values."""
        self._m.submodules.aux = aux = activation_memory(self._plan)
        self._m.d.comb += [
            aux.write_enable.eq(write.enable),
            aux.write_address.eq(write.address),
            aux.write_data.eq(write.data),
            aux.read_enable.eq(1),
            aux.output_enable.eq(1),
            aux.read_address.eq(self._requant.read_address),
            self._requant.read_data.eq(aux.read_data),
        ]
