"""The engine: loader, sequencer, lanes, drain, requantiser, cells and sender, with AXI4-Stream ports."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib.wiring import In, Out

from darb_hw.device.pipeline import delay
from darb_hw.engine.loader import Loader
from darb_hw.engine.planned import Planned
from darb_hw.engine.reloader import Reloader
from darb_hw.engine.row_datapath import RowDatapath
from darb_hw.engine.sender import Sender
from darb_hw.engine.sequencer import Sequencer
from darb_hw.engine.tile_datapath import TileDatapath
from darb_hw.plan.plan import Plan

__all__ = ["Engine", "bus_bits"]

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
        m.submodules.loader = loader = Loader(plan)
        m.submodules.sequencer = sequencer = Sequencer(plan)
        datapath = (TileDatapath if plan.banked else RowDatapath)(plan, m, loader, sequencer)
        m.submodules.sender = sender = Sender(plan)
        self._connect_ports(m, loader, sender)
        self._begin(m, loader, sequencer, sender)
        datapath.connect(sender)
        if self._reloader:
            self._reload(m, self._reloader, loader, sequencer)
            m.d.comb += [part.reload.eq(self._reloader.writes) for part in (loader, sequencer, *datapath.readers)]
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
