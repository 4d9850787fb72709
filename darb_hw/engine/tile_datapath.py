"""Lanes over tiles: lanes compute neighbouring positions, and each has a bank of every map."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from darb_hw.device.memory import Ram
from darb_hw.device.pipeline import delay, fanout_to
from darb_hw.engine.banks import Banks
from darb_hw.engine.datapath import Datapath
from darb_hw.engine.lane import Lane
from darb_hw.engine.loader import Loader
from darb_hw.engine.requant import Requantiser, result_layout
from darb_hw.engine.sender import Sender
from darb_hw.engine.sequencer import Sequencer
from darb_hw.engine.tile_drain import TileDrain
from darb_hw.engine.writeback import write_layout
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan

__all__ = ["TileDatapath"]


class TileDatapath(Datapath):
    """As many requantisers as the plan writes results at once, each with a write port for some of the banks.

    Parameters
    ----------
    plan, m, loader, sequencer
        See :class:`Datapath`.
    """

    def __init__(self, plan: Plan, m: Module, loader: Loader, sequencer: Sequencer) -> None:
        super().__init__(plan, m, loader, sequencer)
        m.submodules.drain = self._drain = self._reading(TileDrain(plan))
        self._requants = [self._reading(Requantiser(plan, way)) for way in range(plan.config.ways)]
        for way, requant in enumerate(self._requants):
            m.submodules[f"requant_{way}"] = requant

    def connect(self, sender: Sender) -> None:
        """Add the other parts, and connect all of them."""
        m, plan, latency, ways = self._m, self._plan, self._plan.latency, self._plan.config.ways
        requants = self._requants
        result = Signal(data.ArrayLayout(result_layout(plan), ways), name="results")
        m.d.sync += [result[way].eq(requant.result) for way, requant in enumerate(requants)]
        m.d.sync += self._loader.busy.eq(Cat(requant.ahead for requant in requants).any())
        insides = [
            delay(m, requant.ahead, latency.ahead + latency.write, f"inside_{way}", control=True)
            for way, requant in enumerate(requants)
        ]
        outside = result[ways - 1]
        for way in range(ways - 1):  # the plan lets only one result of a cycle be an output
            outside = Mux(result[way].valid, Value.cast(result[way]), Value.cast(outside))
        m.d.comb += sender.result.eq(outside)
        writes = Signal(data.ArrayLayout(write_layout(plan), ways))
        self._write(writes, result, insides)
        self._sum(self._lanes(writes))
        if latency.reads_back:
            self._read(writes)

    def _write(self, writes: data.View, result: data.View, insides: list[Value]) -> None:
        """Each write port takes the result that goes to one of its banks, or input. The schedule keeps them apart."""
        m, plan, ways, loader = self._m, self._plan, self._plan.config.ways, self._loader
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

    def _lanes(self, writes: data.View) -> list[Value]:
        """Codes, banks and lanes. Gives the accumulators."""
        m, plan, latency, step = self._m, self._plan, self._plan.latency, self._sequencer.step
        config = plan.config
        codes = self._codes()
        m.submodules.banks = banks = self._reading(Banks(plan))
        m.d.comb += [
            banks.step.eq(step),
            banks.index.eq(codes.index),
            banks.write.eq(writes),
        ]
        if "columns" in plan.images:
            m.d.comb += banks.column.eq(codes.column)
        enable, clear = self._controls()
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

    def _sum(self, accumulators: list[Value]) -> None:
        """From the accumulators through the chains to the requantisers."""
        drain = self._drain
        self._capture(accumulators, drain)
        for way, requant in enumerate(self._requants):
            self._m.d.comb += [
                requant.valid.eq(drain.valid),
                requant.row.eq(drain.row),
                requant.value.eq(drain.values[way]),
                requant.spot.eq(drain.spots[way]),
                requant.context.eq(drain.passing),
            ]
            if way:
                self._m.d.comb += requant.parameters.eq(self._requants[0].parameters)

    def _read(self, writes: data.View) -> None:
        """Memories for what the write-back reads, each for the banks of a write port: operands and old values. They
        hold the first elements of each bank only, where all that is read stands."""
        m, plan, ways = self._m, self._plan, self._plan.config.ways
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
            for way, requant in enumerate(self._requants):
                if (way, port) in read:
                    mine = Cat(requant.read_address[:bits], requant.read_bank[shift:])
                    hit = requant.read_enable & (requant.read_bank[:shift] == port)
                    address = Mux(hit, mine, address)
            read_address = Signal.like(memory.read_address, name=f"aux_address_{port}", reset_less=True)
            m.d.sync += read_address.eq(address)
            m.d.comb += memory.read_address.eq(read_address)
            memories.append(memory)
        assert plan.latency.aux == 1 + Ram.latency
        for way, requant in enumerate(self._requants):
            value: Value = memories[0].read_data
            if shift:
                port_read = delay(m, requant.read_bank[:shift], plan.latency.aux, f"aux_port_{way}")
                for port, memory in enumerate(memories):
                    if port and (way, port) in read:
                        value = Mux(port_read == port, memory.read_data, value)
            m.d.comb += requant.read_data.eq(value)
