"""UART: bytes as a start bit, eight data bits, the lowest first, and a stop bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from darb_hw.link.line import received_byte

__all__ = ["Uart", "UartReceiver", "UartTransmitter"]


class UartReceiver(wiring.Component):
    """Bits -> bytes.

    Each bit is looked at in its middle. A start bit that is not there any more in its middle was noise.

    Parameters
    ----------
    divisor : int
        Clock cycles of a bit, at least 4.

    Members
    -------
    rx : In(1)
        The line, from another clock domain.
    o : Out(received_byte)
        Valid for one cycle a byte; bad if there is no stop bit. Nobody can hold it up.
    """

    rx: Signal
    o: data.View

    def __init__(self, divisor: int) -> None:
        if divisor < 4:
            raise ValueError(f"divisor {divisor}: a bit takes at least 4 cycles")
        self._divisor = divisor
        super().__init__({"rx": In(1), "o": Out(received_byte)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.line = FFSynchronizer(self.rx, line, init=1)
        left, bits = Signal(range(self._divisor)), Signal(range(10))
        byte, busy = Signal(8, reset_less=True), Signal()
        m.d.sync += self.o.valid.eq(0)
        with m.If(~busy):
            m.d.sync += [left.eq(self._divisor // 2 - 1), bits.eq(0), busy.eq(~line)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += [left.eq(self._divisor - 1), bits.eq(bits + 1)]
            with m.If(bits == 0):
                m.d.sync += busy.eq(~line)
            with m.Elif(bits == 9):
                # From the middle of the stop bit on the next start bit may come.
                m.d.sync += [self.o.valid.eq(1), self.o.data.eq(byte), self.o.bad.eq(~line), busy.eq(0)]
            with m.Else():
                m.d.sync += byte.eq(Cat(byte[1:], line))
        return m


class UartTransmitter(wiring.Component):
    """Bytes -> bits.

    Parameters
    ----------
    divisor : int
        Clock cycles of a bit.

    Members
    -------
    i : In(stream.Signature(8))
    tx : Out(1)
        The line: a register, high while nothing is sent.
    """

    i: stream.Interface
    tx: Signal

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left, bits = Signal(range(max(self._divisor, 2))), Signal(range(11))
        shift, line = Signal(10, init=0x3FF), Signal(init=1)
        m.d.comb += [self.i.ready.eq(bits == 0), self.tx.eq(line)]
        m.d.sync += line.eq(shift[0])
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                shift.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))),
                bits.eq(10),
                left.eq(self._divisor - 1),
            ]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Elif(bits != 0):
            m.d.sync += [shift.eq(Cat(shift[1:], Const(1, 1))), bits.eq(bits - 1), left.eq(self._divisor - 1)]
        return m


class Uart(wiring.Component):
    """Both directions.

    Parameters
    ----------
    divisor : int
        Clock cycles of a bit, at least 4.

    Members
    -------
    rx : In(1)
    tx : Out(1)
        The lines, see :class:`UartReceiver` and :class:`UartTransmitter`.
    o : Out(received_byte)
    i : In(stream.Signature(8))
    """

    rx: Signal
    tx: Signal
    o: data.View
    i: stream.Interface

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"rx": In(1), "tx": Out(1), "o": Out(received_byte), "i": In(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self._divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self._divisor)
        connect(m, flipped(self.i), transmitter.i)
        m.d.comb += [receiver.rx.eq(self.rx), self.o.eq(receiver.o), self.tx.eq(transmitter.tx)]
        return m
