"""The engine: loader, sequencer, lanes, drain, requantiser, cells and sender, with AXI4-Stream ports."""

from typing import TypeVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Ram
from darb_hw.device.pipeline import delay, fanout, fanout_to
from darb_hw.engine.banks import Banks
from darb_hw.engine.cell import CellUnit, unit_layout
from darb_hw.engine.codes import Codes
from darb_hw.engine.drain import Drain
from darb_hw.engine.fetch import Fetch, activation_memory
from darb_hw.engine.lane import Lane
from darb_hw.engine.loader import Loader
from darb_hw.engine.planned import Planned
from darb_hw.engine.reloader import Reloader
from darb_hw.engine.requant import Requantiser, result_layout
from darb_hw.engine.sender import Sender
from darb_hw.engine.sequencer import Sequencer
from darb_hw.engine.tile_drain import TileDrain
from darb_hw.engine.writeback import write_layout
from darb_hw.plan.clusters import ALL
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.memory_map import STATES
from darb_hw.plan.plan import Plan
from darb_hw.plan.roms import GATE

__all__ = ["Engine", "bus_bits"]

_TREE = 2
"""Levels of the trees of registers through which control reaches the lanes."""


_Reader = TypeVar("_Reader", bound=Planned)
_RELOAD_PORTS = {
    "reload_axis_tdata": In(8),
    "reload_axis_tvalid": In(1),
    "reload_axis_tlast": In(1),
    "reload_axis_tready": Out(1),
    "reload_done": Out(1),
    "reload_error": Out(1),
}


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
        Input frames: ``plan.input_size`` elements, ``tlast`` with the last one. A frame of a recurrent network has so
        many elements for each time step.
    m_axis_tdata, m_axis_tvalid, m_axis_tlast : Out
    m_axis_tready : In
        Output frames: ``plan.output_size`` elements in logical order. A frame of a recurrent network has so many
        elements for each time step, or for the last one only.
    frame_error : Out(1)
        High for a cycle when an element has shown that an input frame is wrong. The frame is dropped from there on.
    s_axis_tuser : In(tasks)
        With the first element of an input frame: the tasks whose outputs its output frame has, a bit each; all of them
        if no bit is set. It is there if the network has tasks.
    reload_axis_tdata, reload_axis_tvalid, reload_axis_tlast : In
    reload_axis_tready : Out
        Another network, a byte at a time, ``tlast`` with the last one: what
        :func:`~darb_hw.plan.reload.reload_bytes` gives. Frames that have begun are done with the old one, all others
        with the new one.
    reload_done, reload_error : Out(1)
        High for a cycle, before another byte is taken: the new network is in use; it was wrong, and is not used. These
        ports are there if the configuration ``loads``.
    reload_bank : Out(1)
        Which of two networks is in use: 0 is that of the ROM images. A reset leaves it as it is. It is there if the
        configuration has ``reload``.
    reload_present : Out(1)
        Whether there is a network; no frame is taken without. A reset leaves it as it is. It is there if the
        configuration has ROMs in single-port RAMs.
    """

    s_axis_tdata: Signal
    s_axis_tvalid: Signal
    s_axis_tlast: Signal
    s_axis_tready: Signal
    m_axis_tdata: Signal
    m_axis_tvalid: Signal
    m_axis_tlast: Signal
    m_axis_tready: Signal
    frame_error: Signal
    s_axis_tuser: Signal
    reload_axis_tdata: Signal
    reload_axis_tvalid: Signal
    reload_axis_tlast: Signal
    reload_axis_tready: Signal
    reload_done: Signal
    reload_error: Signal
    reload_bank: Signal
    reload_present: Signal

    def __init__(self, plan: Plan) -> None:
        self._readers: list[Planned] = []
        self._reloader: Reloader | None = None
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
            }
            | ({"s_axis_tuser": In(plan.tasks)} if plan.tasks else {})
            | (_RELOAD_PORTS if plan.config.loads else {})
            | ({"reload_bank": Out(1)} if plan.config.reload else {})
            | ({"reload_present": Out(1)} if plan.config.overwrites else {}),
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan = self._plan
        self._reloader = Reloader(plan) if plan.config.loads else None
        m.submodules.loader = loader = self._reading(Loader(plan))
        m.submodules.sequencer = sequencer = self._reading(Sequencer(plan))
        if plan.banked:
            self._tiles(m, loader, sequencer)
        else:
            self._rows(m, loader, sequencer)
        if self._reloader:
            self._reload(m, self._reloader, loader, sequencer)
        return m

    def _reload(self, m: Module, reloader: Reloader, loader: Loader, sequencer: Sequencer) -> None:
        """The port for another network."""
        m.submodules.reloader = reloader
        m.d.comb += [
            reloader.i.valid.eq(self.reload_axis_tvalid),
            reloader.i.payload.data.eq(self.reload_axis_tdata),
            reloader.i.payload.last.eq(self.reload_axis_tlast),
            self.reload_axis_tready.eq(reloader.i.ready),
            self.reload_done.eq(reloader.done),
            self.reload_error.eq(reloader.error),
            self.reload_present.eq(reloader.present)
            if self._plan.config.overwrites
            else self.reload_bank.eq(reloader.bank),
            reloader.running.eq(sequencer.running),
            reloader.waits.eq(loader.i.valid | ~loader.empty),
            reloader.taken.eq(self.s_axis_tvalid & self.s_axis_tready),
            reloader.last.eq(self.s_axis_tlast),
        ]
        m.d.comb += [part.reload.eq(reloader.writes) for part in self._readers]

    def _reading(self, part: _Reader) -> _Reader:
        """A part that reads ROMs."""
        self._readers.append(part)
        return part

    def _rows(self, m: Module, loader: Loader, sequencer: Sequencer) -> None:
        """What comes behind the sequencer where lanes compute different rows."""
        plan, latency = self._plan, self._plan.latency
        m.submodules.drain = drain = Drain(plan)
        m.submodules.requant = requant = self._reading(Requantiser(plan))
        m.submodules.sender = sender = Sender(plan)
        self._connect_ports(m, loader, sender)
        self._begin(m, loader, sequencer, sender)

        result = Signal(result_layout(plan))
        m.d.sync += result.eq(requant.result)
        write = Signal(write_layout(plan))
        m.d.comb += sender.result.eq(result)
        # Whether a result goes to the memories is known long before the result.
        inside = delay(m, requant.ahead, latency.ahead + latency.write, "inside", control=True)
        self._write(m, write, inside, result, loader.write, self._cells(m, result, sequencer, loader, requant))
        if plan.clustered:
            m.d.comb += write.cluster.eq(Mux(inside, result.cluster, loader.bank))
        # ``result`` and ``inside`` are this late. What comes in is announced as early, so that it finds the port free.
        assert latency.write == 1
        assert loader.latency == latency.ahead + latency.write
        copies = self._writes(m, write)
        accumulators = self._lanes(m, sequencer, copies)
        self._drain(m, sequencer.step, accumulators, drain, requant)
        if latency.reads_back:
            self._read(m, copies[0], requant)

    def _writes(self, m: Module, write: data.View) -> list[data.View]:
        """What is written, in registers for some lanes each, in the order of :meth:`_written`."""
        plan, clusters = self._plan, self._plan.config.clusters
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

    def _tiles(self, m: Module, loader: Loader, sequencer: Sequencer) -> None:
        """What comes behind the sequencer where lanes compute neighbouring positions."""
        plan, latency, ways = self._plan, self._plan.latency, self._plan.config.ways
        m.submodules.drain = drain = self._reading(TileDrain(plan))
        requants = [self._reading(Requantiser(plan, way)) for way in range(ways)]
        for way, requant in enumerate(requants):
            m.submodules[f"requant_{way}"] = requant
        m.submodules.sender = sender = Sender(plan)
        self._connect_ports(m, loader, sender)
        self._begin(m, loader, sequencer, sender)
        result = Signal(data.ArrayLayout(result_layout(plan), ways), name="results")
        m.d.sync += [result[way].eq(requant.result) for way, requant in enumerate(requants)]
        m.d.sync += loader.busy.eq(Cat(requant.ahead for requant in requants).any())
        insides = [
            delay(m, requant.ahead, latency.ahead + latency.write, f"inside_{way}", control=True)
            for way, requant in enumerate(requants)
        ]
        outside = result[ways - 1]
        for way in range(ways - 1):  # the plan lets only one result of a cycle be an output
            outside = Mux(result[way].valid, Value.cast(result[way]), Value.cast(outside))
        m.d.comb += sender.result.eq(outside)
        writes = Signal(data.ArrayLayout(write_layout(plan), ways))
        self._write_banks(m, writes, result, insides, loader)
        accumulators = self._tile_lanes(m, sequencer, writes)
        self._drain_tiles(m, sequencer.step, accumulators, drain, requants)
        if latency.reads_back:
            self._read_banks(m, writes, requants)

    def _write_banks(
        self, m: Module, writes: data.View, result: data.View, insides: list[Value], loader: Loader
    ) -> None:
        """Each write port takes the result that goes to one of its banks, or input. The schedule keeps them apart."""
        plan, ways = self._plan, self._plan.config.ways
        written, _ = plan.crossings
        shift = unsigned_bits(ways - 1)
        assert plan.latency.write == 1
        assert loader.latency + 1 == plan.latency.ahead + plan.latency.write
        for port in range(ways):
            write = writes[port]
            loads = loader.write.enable & (loader.bank[:shift] == port)
            enable: Value = loads
            chosen: Value = Cat(loader.write.address, loader.write.data, loader.bank[shift:])
            for way in range(ways):
                if (way, port) not in written:
                    continue
                hit = insides[way] & (result[way].bank[:shift] == port)
                enable = enable | hit
                value = result[way].value[: plan.widths.activation]
                address = result[way].address[: plan.widths.address]
                chosen = Mux(hit, Cat(address, value, result[way].bank[shift:]), chosen)
            fields = Cat(write.address, write.data, write.bank)
            m.d.comb += [write.enable.eq(enable), fields.eq(chosen)]
        if plan.latency.paired:  # one port; an element that comes in is written at once
            m.d.comb += writes[0].ends.eq(loader.write.enable | result[0].ends)

    def _tile_lanes(self, m: Module, sequencer: Sequencer, writes: data.View) -> list[Value]:
        """Codes, banks and lanes. Gives the accumulators."""
        plan, latency, step = self._plan, self._plan.latency, sequencer.step
        config = plan.config
        codes = self._codes(m, sequencer)
        m.submodules.banks = banks = self._reading(Banks(plan))
        m.d.comb += [
            banks.step.eq(step),
            banks.index.eq(codes.index),
            banks.write.eq(writes),
        ]
        if "columns" in plan.images:
            m.d.comb += banks.column.eq(codes.column)
        enable, clear = self._controls(m, step)
        assert codes.latency_weight + latency.tree == banks.latency
        accumulators: list[Value] = []
        for stream in range(config.streams):
            weights = fanout_to(m, codes.weight[stream], config.banks, 4, f"weight_{stream}", cycles=latency.tree)
            for bank, weight in enumerate(weights):
                lane_number = stream * config.banks + bank
                m.submodules[f"lane_{lane_number}"] = lane = Lane(plan)
                assert banks.latency + lane.latency == latency.lane
                m.d.comb += [
                    lane.activation.eq(banks.activation[lane_number]),
                    lane.weight.eq(weight),
                    lane.enable.eq(enable[lane_number]),
                    lane.clear.eq(clear[lane_number]),
                ]
                accumulators.append(lane.accumulator)
        return accumulators

    def _drain_tiles(
        self, m: Module, step: data.View, accumulators: list[Value], drain: TileDrain, requants: list[Requantiser]
    ) -> None:
        """From the accumulators through the chains to the requantisers."""
        self._capture(m, step, accumulators, drain)
        for way, requant in enumerate(requants):
            m.d.comb += [
                requant.valid.eq(drain.valid),
                requant.row.eq(drain.row),
                requant.value.eq(drain.values[way]),
                requant.spot.eq(drain.spots[way]),
                requant.context.eq(drain.passing),
            ]
            if way:
                m.d.comb += requant.parameters.eq(requants[0].parameters)

    def _read_banks(self, m: Module, writes: data.View, requants: list[Requantiser]) -> None:
        """Memories for what the write-back reads, each for the banks of a write port: operands and old values. They
        hold the first elements of each bank only, where all that is read stands."""
        plan, ways = self._plan, self._plan.config.ways
        bits, shift = plan.aux_bits, unsigned_bits(ways - 1)
        _, read = plan.crossings
        depth = plan.config.banks // ways << bits
        memories = []
        for port in range(ways):
            m.submodules[f"aux_{port}"] = memory = Ram(plan.widths.activation, depth)
            # As late as it is written in the banks.
            write = delay(m, Value.cast(writes[port]), plan.latency.spread, f"aux_write_{port}")
            write = write_layout(plan)(write)
            m.d.comb += [
                memory.write_enable.eq(write.enable & (write.address[bits:] == 0)),
                memory.write_address.eq(Cat(write.address[:bits], write.bank)),
                memory.write_data.eq(write.data),
                memory.read_enable.eq(1),
                memory.output_enable.eq(1),
            ]
            address: Value = Const(0, 1)
            for way, requant in enumerate(requants):
                if (way, port) in read:
                    mine = Cat(requant.read_address[:bits], requant.read_bank[shift:])
                    hit = requant.read_enable & (requant.read_bank[:shift] == port)
                    address = Mux(hit, mine, address)
            read_address = Signal.like(memory.read_address, name=f"aux_address_{port}", reset_less=True)
            m.d.sync += read_address.eq(address)
            m.d.comb += memory.read_address.eq(read_address)
            memories.append(memory)
        assert plan.latency.aux == 1 + Ram.latency
        for way, requant in enumerate(requants):
            value: Value = memories[0].read_data
            if shift:
                port_read = delay(m, requant.read_bank[:shift], plan.latency.aux, f"aux_port_{way}")
                for port, memory in enumerate(memories):
                    if port and (way, port) in read:
                        value = Mux(port_read == port, memory.read_data, value)
            m.d.comb += requant.read_data.eq(value)

    def _connect_ports(self, m: Module, loader: Loader, sender: Sender) -> None:
        """The ports. A register behind the input: what is decided of an element begins at registers."""
        room, offered = loader.i.ready | ~loader.i.valid, self.s_axis_tvalid
        accept = room
        if self._reloader:  # no frame begins while the engine is to rest
            accept, offered = room & ~self._reloader.hold, offered & ~self._reloader.hold
        m.d.comb += [
            self.s_axis_tready.eq(accept),
            self.m_axis_tvalid.eq(sender.o.valid),
            self.m_axis_tdata.eq(sender.o.payload.data),
            self.m_axis_tlast.eq(sender.o.payload.last),
            sender.o.ready.eq(self.m_axis_tready),
        ]
        assert self._plan.latency.accept == 1
        with m.If(room if self._reloader else self.s_axis_tready):
            m.d.sync += [
                loader.i.valid.eq(offered),
                loader.i.payload.data.eq(self.s_axis_tdata),
                loader.i.payload.last.eq(self.s_axis_tlast),
            ]
            if self._plan.tasks:
                m.d.sync += loader.i.payload.user.eq(self.s_axis_tuser)
        m.d.sync += self.frame_error.eq(loader.error)

    def _begin(self, m: Module, loader: Loader, sequencer: Sequencer, sender: Sender) -> None:
        """An inference (or a time step) begins when its input is there, the program is through with the one before, and
        there is room for its output."""
        plan, latency = self._plan, self._plan.latency
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
            # A time step without output may have computed results of the output. They go when the next one begins.
            sender.discard.eq(Const(0, 1) if every else sequencer.begin & ~sequencer.now.final),
        ]
        if plan.tasks:
            m.d.comb += [sequencer.subset.eq(loader.subset), sender.subset.eq(loader.subset)]
        with m.If(sequencer.begin):
            m.d.sync += sequencer.upcoming.odd.eq(~sequencer.upcoming.odd)
        # The last element is in the memories before the first step can address it.
        assert loader.latency + latency.visible <= latency.start + latency.issue + latency.fetch

    def _write(
        self,
        m: Module,
        write: data.View,
        inside: Value,
        result: data.View,
        load: data.View,
        unit: tuple[data.View, Value] | None,
    ) -> None:
        """The write port takes input, results that stay ``inside``, and outputs of cells with the address of their
        bank. The schedule keeps them apart."""
        memory = self._plan.memory
        enable, address, value = inside | load.enable, Mux(inside, result.address, load.address), load.data
        value = Mux(inside, result.value, value)
        if unit is not None:
            o, bank = unit
            enable = enable | o.valid
            states = memory.regions[STATES].start if memory.bank else 0
            address = Mux(o.valid, o.unit + bank + states, address)
            value = Mux(o.valid, o.value, value)
        m.d.comb += [write.enable.eq(enable), write.address.eq(address), write.data.eq(value)]

    def _cells(
        self, m: Module, result: data.View, sequencer: Sequencer, loader: Loader, requant: Requantiser
    ) -> tuple[data.View, Value] | None:
        """The cells: their output, and the address that its unit is added to. Tells the loader when they or the
        requantiser write."""
        plan, now = self._plan, sequencer.now
        if not plan.network.cells:
            m.d.comb += loader.busy.eq(requant.ahead)
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
            loader.busy.eq(requant.ahead | cells.ahead),
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

    def _codes(self, m: Module, sequencer: Sequencer) -> Codes:
        """The ROMs of codes, read step by step."""
        m.submodules.codes = codes = self._reading(Codes(self._plan))
        wait = self._plan.latency.issue - 1
        m.d.comb += [
            codes.restart.eq(delay(m, sequencer.begin, wait, "restart", control=True)),
            codes.step.eq(sequencer.step),
        ]
        if self._plan.network.sections:
            m.d.comb += [
                codes.enter.eq(delay(m, sequencer.enter, wait, "enter", control=True)),
                codes.again.eq(delay(m, sequencer.again, wait, "again", control=True)),
            ]
        if "jumps" in self._plan.images:
            assert wait == 1  # `jump` comes a cycle behind the begin of its word
            m.d.comb += [codes.jump.eq(sequencer.jump), codes.target.eq(sequencer.target)]
        return codes

    def _steered(
        self, m: Module, value: Value, after: int, name: str, lanes_each: int, control: bool = False
    ) -> list[Value]:
        """``value``, ``after`` cycles later, for each lane: from a register for every ``lanes_each`` lanes."""
        late = delay(m, value, after - _TREE, name, control=control)
        return fanout_to(m, late, self._plan.config.lanes, lanes_each, name, cycles=_TREE)

    def _controls(self, m: Module, step: data.View) -> tuple[list[Value], list[Value]]:
        """``enable`` and ``clear`` of each lane. An accumulator changes a cycle after its control."""
        after = self._plan.latency.lane - 1
        enable = self._steered(m, step.valid, after, "enable", 2, control=True)
        return enable, self._steered(m, step.first, after, "clear", 2)

    def _capture(self, m: Module, step: data.View, accumulators: list[Value], drain: Drain) -> None:
        """The drain takes the sums of a group."""
        # The last step of a group reaches the accumulators ``lane`` cycles later; capture comes ``1 + early`` before.
        latency = self._plan.latency
        ends = latency.lane - 1 - latency.early
        m.d.comb += [
            drain.capture.eq(delay(m, step.valid & step.last, ends, "capture", control=True)),
            drain.context.eq(delay(m, step.context, ends, "context")),
            Value.cast(drain.accumulators).eq(Cat(accumulators)),
        ]

    def _lanes(self, m: Module, sequencer: Sequencer, writes: list[data.View]) -> list[Value]:
        """Codes, activations and lanes. Gives the accumulators."""
        plan, latency, step = self._plan, self._plan.latency, sequencer.step
        lanes = plan.config.lanes
        codes = self._codes(m, sequencer)
        base = self._steered(m, step.base, latency.code, "base", 4)
        enable, clear = self._controls(m, step)
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

    def _drain(self, m: Module, step: data.View, accumulators: list[Value], drain: Drain, requant: Requantiser) -> None:
        """From the accumulators through the shadow row to the requantiser."""
        self._capture(m, step, accumulators, drain)
        m.d.comb += [
            requant.valid.eq(drain.valid),
            requant.row.eq(drain.row),
            requant.value.eq(drain.value),
            requant.context.eq(drain.passing),
        ]

    def _read(self, m: Module, write: data.View, requant: Requantiser) -> None:
        """A copy of the activation memory for what the write-back reads: operands and old values."""
        m.submodules.aux = aux = activation_memory(self._plan)
        m.d.comb += [
            aux.write_enable.eq(write.enable),
            aux.write_address.eq(write.address),
            aux.write_data.eq(write.data),
            aux.read_enable.eq(1),
            aux.output_enable.eq(1),
            aux.read_address.eq(requant.read_address),
            requant.read_data.eq(aux.read_data),
        ]
