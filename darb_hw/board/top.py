"""The top level of a board: clock, reset, the engine, and its link."""

from collections.abc import Mapping

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    DomainRenamer,
    Instance,
    Module,
    ResetSignal,
    Signal,
    ValueLike,
)
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer, ResetSynchronizer
from amaranth.lib.wiring import In, Out, connect

from darb_hw.board.pins import Pin
from darb_hw.board.pll import Pll
from darb_hw.engine.reloader import reload_byte
from darb_hw.link.crossing import Crossing
from darb_hw.link.flash import FlashReader
from darb_hw.link.link import HostLink
from darb_hw.link.shape import LinkShape
from darb_hw.link.spi import SpiSlave
from darb_hw.link.uart import Uart

__all__ = ["RESET_CYCLES", "BoardTop"]

RESET_CYCLES = 1 << 9
"""Cycles of the oscillator that the reset lasts: block RAMs of iCE40 give nothing in their first microseconds."""
_HEARD, _SAID = ("rx", "sck", "cs", "copi"), ("tx", "cipo")
"""Ports of lines."""


class BoardTop(wiring.Component):
    """What goes into a board.

    The engine is an instance of its own Verilog, and has a clock of its own: the link is slow, whatever it is clocked
    with, and would hold the engine up.

    Parameters
    ----------
    engine : str
        Name of the top-level module of the engine.
    shape : LinkShape
    info : bytes
        See :class:`~darb_hw.link.replier.Replier`.
    pll : Pll
    line : Uart or SpiSlave
        What brings bytes to the link.
    pins : mapping of str to Pin
        Of each port. Only ports with a pin exist.
    exchangeable : bool
        See :class:`~darb_hw.link.replier.Replier`.
    flash : FlashReader, optional
        What reads the first network.

    Members
    -------
    clock : In(1)
        Oscillator of the board.
    rx : In(1)
    tx : Out(1)
        The line, if it is a UART.
    sck, cs, copi : In(1)
    cipo : Out(1)
        The line, if it is SPI.
    flash_cs, flash_sck, flash_copi : Out(1)
    flash_cipo : In(1)
    flash_wp, flash_hold : Out(1)
        The flash memory; the last two stay low, which is high at the pins.
    button : In(1)
        Resets.
    ready, working, failed : Out(1)
        Lights: the clock is there and the reset over; a request waits for its reply; the last request was a bad one.
    """

    clock: Signal
    rx: Signal
    tx: Signal
    sck: Signal
    cs: Signal
    copi: Signal
    cipo: Signal
    flash_cs: Signal
    flash_sck: Signal
    flash_copi: Signal
    flash_cipo: Signal
    flash_wp: Signal
    flash_hold: Signal
    button: Signal
    ready: Signal
    working: Signal
    failed: Signal

    def __init__(
        self, engine: str, shape: LinkShape, info: bytes, pll: Pll, line: Uart | SpiSlave, pins: Mapping[str, Pin],
        exchangeable: bool = False, flash: FlashReader | None = None,
    ) -> None:  # fmt: skip
        self._flash = flash
        self._engine, self._shape, self._info, self._exchangeable = engine, shape, info, exchangeable
        self._pll, self._line, self._pins = pll, line, pins
        heard = ("clock", "button", "flash_cipo", *_HEARD)
        super().__init__({port: In(1) if port in heard else Out(1) for port in pins})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        self._clocks_and_resets(m)
        link, line = HostLink(shape, self._info, self._exchangeable, self._flash is not None), self._line
        for name, part in (("link", link), ("line", line)):
            m.submodules[name] = DomainRenamer("link")(part)
        m.submodules.inputs = inputs = Crossing(link.inputs.payload.shape(), "link", "sync")
        m.submodules.outputs = outputs = Crossing(link.outputs.payload.shape(), "sync", "link")
        m.d.comb += link.i.eq(line.o)
        connect(m, link.o, line.i)
        connect(m, link.inputs, inputs.i)
        connect(m, outputs.o, link.outputs)
        loads = self._loads(m, link) if shape.load_bytes else {}
        m.submodules.engine = self._engine_between(m, inputs.o, outputs.i, loads)
        said = {port: getattr(line, port) for port in _SAID if port in self._pins}
        if self._flash:
            said |= self._read_flash(m, self._flash, link)
        lights = {"ready": ~ResetSignal("link"), "working": link.working, "failed": link.failed}
        for port, value in {**said, **lights}.items():
            if port in self._pins:
                m.d.comb += getattr(self, port).eq(value ^ self._pins[port].inverted)
        for port in _HEARD:
            if port in self._pins:
                m.d.comb += getattr(line, port).eq(getattr(self, port) ^ self._pins[port].inverted)
        return m

    def _read_flash(self, m: Module, flash: FlashReader, link: HostLink) -> dict[str, ValueLike]:
        """Connects the reader of the flash memory; gives what its pins say."""
        m.submodules.flash = DomainRenamer("link")(flash)
        connect(m, flash.o, link.stored)
        m.d.comb += flash.cipo.eq(self.flash_cipo)
        still = {"flash_wp": Const(0, 1), "flash_hold": Const(0, 1)}
        return {"flash_cs": flash.cs, "flash_sck": flash.sck, "flash_copi": flash.copi, **still}

    def _clocks_and_resets(self, m: Module) -> None:
        """The oscillator clocks the link, what the loop makes of it the engine. Both are in reset until the loop has
        locked, and for a while after."""
        oscillator, made, locked, steady = Signal(name="oscillator"), Signal(name="clk"), Signal(), Signal()
        m.domains += [ClockDomain("link"), ClockDomain("sync")]
        # Without a reset: its registers begin with 0.
        m.domains += ClockDomain("power", reset_less=True)
        m.submodules.pll = self._pll.instance(m, self.clock, oscillator, made, locked)
        pressed = self.button ^ self._pins["button"].inverted if "button" in self._pins else Const(0, 1)
        m.submodules.steady = FFSynchronizer(locked & ~pressed, steady, o_domain="power")
        passed, ready = Signal(range(RESET_CYCLES)), Signal()
        with m.If(~steady):
            m.d.power += [passed.eq(0), ready.eq(0)]
        with m.Elif(passed == RESET_CYCLES - 1):
            m.d.power += ready.eq(1)
        with m.Else():
            m.d.power += passed.eq(passed + 1)
        clocks = {"power": oscillator, "link": oscillator, "sync": made}
        m.d.comb += [ClockSignal(domain).eq(clock) for domain, clock in clocks.items()]
        m.d.comb += ResetSignal("link").eq(~ready)
        m.submodules.reset = ResetSynchronizer(~ready, domain="sync")

    def _loads(self, m: Module, link: HostLink) -> dict[str, ValueLike]:
        """Connections of the engine for other networks."""
        m.submodules.network = network = Crossing(reload_byte, "link", "sync")
        m.submodules.verdict = verdict = Crossing(1, "sync", "link")
        connect(m, link.network, network.i)
        connect(m, verdict.o, link.verdict)
        told = "present" if self._shape.overwrites else "bank"
        state, done, error = (Signal(name=f"reload_{name}") for name in (told, "done", "error"))
        m.submodules[told] = FFSynchronizer(state, getattr(link, told), o_domain="link")
        # One network is judged at a time, so the last verdict has gone.
        m.d.comb += [verdict.i.valid.eq(done | error), verdict.i.payload.eq(done)]
        return {
            "i_reload_axis_tdata": network.o.payload.data,
            "i_reload_axis_tlast": network.o.payload.last,
            "i_reload_axis_tvalid": network.o.valid,
            "o_reload_axis_tready": network.o.ready,
            "o_reload_done": done,
            "o_reload_error": error,
            f"o_reload_{told}": state,
        }

    def _engine_between(
        self, m: Module, inputs: stream.Interface, outputs: stream.Interface, loads: Mapping[str, ValueLike]
    ) -> Instance:
        """The engine, from inputs to outputs. Elements are extended to whole bytes on their way in."""
        shape, element = self._shape, inputs.payload.data
        above = 8 * shape.input_bytes - shape.input_bits
        made = Signal(8 * shape.output_bytes)
        m.d.comb += outputs.payload.data.eq(made)
        return Instance(
            self._engine,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_s_axis_tdata=Cat(element.as_unsigned(), element[-1].replicate(above)) if above else element,
            i_s_axis_tvalid=inputs.valid,
            i_s_axis_tlast=inputs.payload.last,
            o_s_axis_tready=inputs.ready,
            **({"i_s_axis_tuser": inputs.payload.user} if shape.tasks else {}),
            o_m_axis_tdata=made,
            o_m_axis_tvalid=outputs.valid,
            o_m_axis_tlast=outputs.payload.last,
            i_m_axis_tready=outputs.ready,
            **loads,
        )
